"""What the papers say outside their tables, as data: the quotation, its section, and its numbers.

The statements set these against the tables and the models. A quotation is of the paper's text, with
the spaces and line breaks as they come.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal


@dataclass(frozen=True)
class Claim:
    """One thing that a paper says."""

    paper: Literal["ELA", "EMA"]
    section: str
    quotation: str
    numbers: tuple[Decimal, ...] = ()
    """In the quotation, in its order."""

    @property
    def number(self) -> Decimal:
        """The only number of the quotation."""
        [number] = self.numbers
        return number


def _claim(paper: Literal["ELA", "EMA"], section: str, quotation: str, *numbers: str) -> Claim:
    return Claim(paper, section, quotation, tuple(map(Decimal, numbers)))


LIGHTWEIGHT = _claim("ELA", "section 1", "lightweight models have fewer parameters than SE")
YOLOX_DROPS = _claim(
    "ELA", "section 3.1.2", "the performance of YOLOX-Nano drops by 1.57% - 0.64%", "1.57", "0.64"
)
YOLOX_RISES = _claim(
    "ELA",
    "section 3.1.2",
    "the performance of YOLOX-Nano is raised by 0.51% - 0.70%",
    "0.51",
    "0.70",
)
ELA_L_AGAINST_CA = _claim(
    "ELA",
    "section 3.3",
    "even ELA-L, despite having fewer parameters than the lightest of the CA methods (r=32)",
)
MOMENTUM = _claim("ELA", "section 4.1", "a momentum of 0.99", "0.99")
LEARNING_RATES = _claim(
    "ELA",
    "section 4.1",
    "the initial learning rate set to either 0.1 and 0.05",
    "0.1",
    "0.05",
)
GAIN_ON_MOBILENET_V2 = _claim(
    "ELA",
    "section 4.2",
    "our ELA-S module enhances the top-1 accuracy of the original MobileNetV2 by approximately "
    "2.39%",
    "2.39",
)
GROWTH_BY_CA = _claim(
    "ELA",
    "section 4.2",
    "CA (r=16) in MobileNetV2 significantly increases the parameter count by over 35%",
    "35",
)
GAIN_ON_RESNET18 = _claim(
    "ELA",
    "section 4.2",
    "when ResNet18 serves as the backbone, ELA improves the Top-1 accuracy by 0.93%",
    "0.93",
)
GROWTH_BY_ELA = _claim(
    "ELA",
    "section 4.2",
    "when ResNet50 is used as the backbone, ELA only increases the number of parameters by 0.03%",
    "0.03",
)
SITES_IN_DEEPLABV3 = _claim(
    "ELA",
    "section 4.4",
    "attention methods after each 3×3 convolution in every Bottleneck and after each layer",
)
STRIP_MEAN = _claim(
    "ELA",
    "Eq. 1",
    r"z_{c}^{h}(h) = \frac{1}{H} \sum_{0 \le i < H} x_{c}(h, i)",
)
STRIP_DIVISOR, STRIP_TERMS = "H", "H"
"""What Eq. 1 divides by, and how many terms it adds up."""
WEIGHT_DECAY = _claim("EMA", "section 4.1", "the weight decay of 4e-5", "4e-5")
NAM_WEIGHT_DECAY = Decimal("5e-4")
"""Of NAM's code, whose settings EMA's section 4.1 says it has; it is in neither paper's text."""
GROWTH_BY_EMA = _claim(
    "EMA", "section 4.2", "EMA adds 0.22M more parameters than baseline method", "0.22"
)
