"""Write docs/recipe.schema.json, the JSON schema of recipe files.

python docs/make_recipe_schema.py            rewrites it
python docs/make_recipe_schema.py --check    only tells whether it is current (exit status 1 when not)
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from napari_recon.core.provenance import Recipe

TARGET = Path(__file__).parent / "recipe.schema.json"


def main() -> None:
    """Write or check the file."""
    text = json.dumps(Recipe.model_json_schema(by_alias=True), indent=1) + "\n"
    if "--check" not in sys.argv:
        TARGET.write_text(text, encoding="utf-8")
    elif not TARGET.exists() or TARGET.read_text(encoding="utf-8") != text:
        raise SystemExit(f"{TARGET.name} is not current")


if __name__ == "__main__":
    main()
