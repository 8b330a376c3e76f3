"""Every engine family. A new engine is one line here; see CONTRIBUTING.md."""

from __future__ import annotations

from napari_recon.core.registry import Registry

registry = Registry(
    {
        "serenet.reconstruct": "napari_recon.engines.serenet.engine:Reconstruct",
        "serenet.realign": "napari_recon.engines.serenet.realign:Realign",
        "serenet.refocus": "napari_recon.engines.serenet.engine:Refocus",
        "lightfield_inr.fit": "napari_recon.engines.lightfield_inr.fit_engine:Fit",
        "lightfield_inr.meta": "napari_recon.engines.lightfield_inr.meta_engine:Meta",
        "lightfield_inr.query": "napari_recon.engines.lightfield_inr.engine:Query",
        "inr4d.fit": "napari_recon.engines.inr4d.fit_engine:Fit",
        "inr4d.query": "napari_recon.engines.inr4d.query_engine:Query",
        "deconvolution.lightfield_rl": "napari_recon.engines.deconvolution.engine:LightFieldRL",
        "deconvolution.rl": "napari_recon.engines.deconvolution.rl:DeconvolutionRL",
        "fusion.multiview_rl": "napari_recon.engines.fusion.multiview_rl:MultiviewRL",
        "tomography.sirt": "napari_recon.engines.tomography.sirt:Sirt",
        "sim.wiener": "napari_recon.engines.sim.wiener:SimWiener",
        "sim.wiener3d": "napari_recon.engines.sim.wiener3d:SimWiener3D",
        "sim.train": "napari_recon.engines.sim.train:Train",
        "sim.residual": "napari_recon.engines.sim.residual:SimResidual",
        "simulate.lightfield": "napari_recon.engines.simulate.engine:LightField",
        "simulate.phantom": "napari_recon.engines.simulate.phantom_engine:SimulatePhantom",
        "simulate.flfm_psf": "napari_recon.engines.simulate.flfm_psf:FlfmPsf",
        "simulate.lfm_psf": "napari_recon.engines.simulate.lfm_psf:LfmPsf",
        "simulate.projections": "napari_recon.engines.simulate.projections:Projections",
        "simulate.sim": "napari_recon.engines.simulate.sim:SimulateSim",
        "simulate.dual_view": "napari_recon.engines.simulate.dual_view:DualView",
        "simulate.llsm": "napari_recon.engines.simulate.llsm:Llsm",
        "sim.network": "napari_recon.engines.sim.network:SimNetwork",
        "fusion.wiener": "napari_recon.engines.fusion.wiener:JointWiener",
        "fusion.rldfn": "napari_recon.engines.fusion.rldfn:RlDfnFusion",
        "fusion.train_rldfn": "napari_recon.engines.fusion.train_rldfn:TrainRlDfn",
        "fusion.train_vsi": "napari_recon.engines.fusion.train_vsi:TrainVsi",
        "fusion.vsi_sr": "napari_recon.engines.fusion.vsi_sr:VsiSr",
        "fusion.pipeline": "napari_recon.engines.fusion.pipeline:Pipeline",
        "fusion.background": "napari_recon.engines.fusion.background:Background",
        "fusion.deskew": "napari_recon.engines.fusion.deskew:Deskew",
        "fusion.split_views": "napari_recon.engines.fusion.split_views:SplitViews",
        "segmentation.seeded": "napari_recon.engines.segmentation.seeded:Seeded",
    },
    group="napari_recon.engines",
)
