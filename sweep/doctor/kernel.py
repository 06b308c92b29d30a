"""What torch says of the GPUs, as one line of JSON; a program that is run by its path.

It computes a little on each GPU: a driver or a build that does not fit often shows only there.
"""

import json


def said() -> dict[str, object]:
    """Return what torch is built for, why it has no GPU, and what each GPU answers."""
    import torch

    trouble = ""
    try:
        if torch.version.cuda is not None:
            torch.cuda.init()  # type: ignore[no-untyped-call]
    except Exception as error:
        trouble = " ".join(str(error).split()) or type(error).__name__
    count = torch.cuda.device_count() if torch.version.cuda is not None and not trouble else 0
    return {
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "architectures": torch.cuda.get_arch_list() if count else [],
        "trouble": trouble,
        "devices": [
            {
                "name": torch.cuda.get_device_name(index),
                "capability": torch.cuda.get_device_capability(index),
                "trouble": _computes(index),
            }
            for index in range(count)
        ],
    }


def _computes(index: int) -> str:
    """Return why a GPU does not multiply two small matrices right; empty if it does."""
    import torch

    try:
        ones = torch.ones(64, 64, device=f"cuda:{index}")
        total = float((ones @ ones).sum())
    except Exception as error:
        return " ".join(str(error).split())[:300] or type(error).__name__
    return "" if total == 64.0**3 else f"64³ comes out as {total:g}"


if __name__ == "__main__":
    print(json.dumps(said()))
