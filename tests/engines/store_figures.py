"""Write tests/engines/loss_figures.json anew, in float64: python -m tests.engines.store_figures, after a new loss."""
import json

from tests.engines import lab

import torch


def main() -> None:
    figures = {}
    for case in lab.loss_cases():
        found = lab.run_torch(case.graph, case.values, case.trained, torch.float64)
        figures[case.name] = [float(f"{value:.7g}") for value in lab.figures(found)]
    rows = [f"{json.dumps(name)}: {json.dumps(values)}" for name, values in figures.items()]
    lab.STORED.write_text("{" + ",\n ".join(rows) + "}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
