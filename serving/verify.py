"""Proof that an export is a merged model, and nothing else.

    python -m serving.verify --merged DIR --exported DIR [--form FORMAT]
                                      exit 0: proven; 1: not, with the tensors and settings named

FORMAT is one of gguf, gguf-q8_0, gguf-q4_k_m, fp8, w4, awq; the folder's own name without it.
K-quants and AWQ have no bound on a value: their errors are held to thresholds, and said so.
"""

import sys
from pathlib import Path

from common.errors import command, say_wrong
from common.options import parser_of
from serving.proof import FORMATS, Proof, is_gguf


def verify(merged: Path, exported: Path, form: str) -> Proof:
    """The proof of an export of a format; what is wrong stands in it.

    Raises ExportError and WeightsError for what cannot be read.
    """
    if is_gguf(form):
        from serving.verify_gguf import verify as of_form
    else:
        from serving.verify_packed import verify as of_form
    return of_form(merged, exported, form)


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--merged", type=Path, required=True)
    parser.add_argument("--exported", type=Path, required=True)
    parser.add_argument("--form", choices=FORMATS, help="the folder's name without it")
    options = parser.parse_args()
    form = options.form or options.exported.resolve().name
    if form not in FORMATS:
        parser.error(f"{form!r} is no format; give --form, one of {', '.join(FORMATS)}")
    proof = verify(options.merged, options.exported, form)
    say_wrong(proof.wrong)
    print(f"NOT PROVEN: {form}" if proof.wrong else f"proven: {proof}")
    return 1 if proof.wrong else 0


if __name__ == "__main__":
    sys.exit(command(main))
