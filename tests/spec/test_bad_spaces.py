"""One bad search space for each kind of mistake, through the real command line.

Every message is written out: file, line, column, field, value, what is allowed, the nearest name.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sweep import registry
from sweep.spec import recipes

from .spaces import call, text_of

# What is registered: a test of messages is no list of it.
DATASETS, BACKBONES, ATTENTION, TASKS = (
    ", ".join(table.names())
    for table in (registry.DATASETS, registry.BACKBONES, registry.ATTENTION, registry.TASKS)
)
PRESETS = ", ".join(recipes.PRESETS)
FIELDS = (
    "study, question, kind, task, seeds, metric, on_indivisible, keep_checkpoints, dataset, "
    "backbones, attention, recipe, resources, stopping, tracking, constraints, paired, search, "
    "scheduler"
)
RECIPE = (
    "epochs, batch_size, accumulate, optimizer, lr, momentum, nesterov, weight_decay, "
    "decay_norm_and_bias, schedule, milestones, gamma, warmup_epochs, label_smoothing, "
    "augmentation, precision, channels_last, evaluate, preset"
)
NAMES = ", ".join(
    dict.fromkeys(
        [
            *("backbone", "attention", "placement", "stem", "image_size"),
            *("params_m", "macs_g"),
            *recipes.Recipe.model_fields,
            *(
                f
                for n in registry.ATTENTION.names()
                for f in registry.ATTENTION[n].Config.model_fields
            ),
        ]
    )
)
TERMS = "Allowed: names, numbers, text, lists, comparisons, and, or, not, in, + - * / // %"
RANGE = "a range needs `search: random`, `tpe` or `nsga2`; a grid takes a list of values"
STUDY = "Name of the sweep: letters, digits, '_', '-' and '.', at most 64; no '.' at either end."
CHANGEABLE = "lr, momentum, weight_decay or label_smoothing of the space's own recipe"
POPULATION = {
    "recipe": "{epochs: 2, lr: {low: 0.1, high: 1}}",
    "scheduler": "{method: pbt, interval: 1}",
    "search": "random",
}
GROUPS = 'Of the 1D convolution: "in_channels", "in_channels/8" or a number.'

BAD: dict[str, tuple[dict[str, str | None], str]] = {
    # fields
    "an unknown field": (
        {"sedes": "[1]"},
        f"8:1: sedes: unknown field; did you mean 'seeds'? Allowed: {FIELDS}",
    ),
    "an unknown field of a section": (
        {"recipe": "{epohs: 2}"},
        f"7:10: recipe.epohs: unknown field; did you mean 'epochs'? Allowed: {RECIPE}",
    ),
    "an unknown hyperparameter": (
        {"attention": "[none, {name: ela, kernel: 5}]"},
        "5:31: attention[1].kernel: unknown field; did you mean 'kernel_size'? "
        "Allowed: name, backbones, kernel_size, groups, num_groups, shared, norm, directions, "
        "conv, preset, parts",
    ),
    "a hyperparameter of another module": (
        {"attention": "[{name: none, preset: B}]"},
        "5:26: attention[0].preset: unknown field. Allowed: name, backbones",
    ),
    "an unknown field of a data set": (
        {"dataset": "{name: digits, image_sise: 8}"},
        "3:25: dataset.image_sise: unknown field; did you mean 'image_size'? "
        "Allowed: root, image_size, val_size, split_seed, subset",
    ),
    "an unknown field of a backbone": (
        {"backbones": "[{name: resnet18, placements: stage3}]"},
        "4:30: backbones[0].placements: unknown field; did you mean 'placement'? "
        "Allowed: name, stem, weights, placement, recipe",
    ),
    "an unknown field of a backbone's recipe": (
        {"backbones": "[{name: resnet18, recipe: {epohs: 2}}]"},
        f"4:39: backbones[0].recipe.epohs: unknown field; did you mean 'epochs'? Allowed: {RECIPE}",
    ),
    # what is missing
    "a required field is missing": ({"study": None}, f"1:1: study: is required. {STUDY}"),
    "a section is missing": (
        {"attention": None},
        "1:1: attention: is required, such as [none, {name: ela, preset: [T, B]}]",
    ),
    "a name is missing": (
        {"attention": "[{kernel_size: 3}]"},
        f"5:13: attention[0].name: is required: one of {ATTENTION}",
    ),
    "the place of own images is missing": (
        {"dataset": "{name: imagefolder}"},
        "3:1: dataset.root: is required. Folder that holds the files; what it holds determines a "
        "result, where it lies does not.",
    ),
    # names
    "an unknown data set": (
        {"dataset": "{name: digit}"},
        f"3:11: dataset.name: 'digit' is not known; did you mean 'digits'? Allowed: {DATASETS}",
    ),
    "an unknown backbone": (
        {"backbones": "[resnet18, resnet5O]"},
        "4:23: backbones[1].name: 'resnet5O' is not known; did you mean 'resnet50'? "
        f"Allowed: {BACKBONES}",
    ),
    "an unknown module": (
        {"attention": "[{name: ELAA}]"},
        f"5:14: attention[0].name: 'ELAA' is not known; did you mean 'ela'? Allowed: {ATTENTION}",
    ),
    "several names in one entry": (
        {"attention": "[{name: [ela, ema]}]"},
        f"5:14: attention[0].name: ['ela', 'ema'] is not known. Allowed: {ATTENTION}",
    ),
    "an unknown task": (
        {"task": "clasification"},
        f"8:1: task: 'clasification' is not known; did you mean 'classification'? Allowed: {TASKS}",
    ),
    "a data set for another task": (
        {"dataset": "{name: voc2007}"},
        "3:11: dataset.name: 'voc2007' is a data set for detection, not classification",
    ),
    "a backbone for another task": (
        {"backbones": "[{name: yolox_nano}]"},
        "4:14: backbones[0].name: yolox_nano is for detection, not classification",
    ),
    "the CIFAR stem on a detector": (
        {
            "task": "detection",
            "dataset": "{name: voc2007}",
            "backbones": "[{name: yolox_nano, stem: [imagenet, cifar]}]",
        },
        "4:49: backbones[0].stem[1]: 'cifar' is not known. Allowed: auto, imagenet",
    ),
    "an unknown backbone of a module": (
        {"attention": "[{name: ela, backbones: [resnet18, resnet81]}]"},
        "5:47: attention[0].backbones[1]: 'resnet81' is not known; did you mean 'resnet18'? "
        "Allowed: resnet18",
    ),
    "a backbone of a module that the space has not": (
        {"attention": "[none, {name: ela, backbones: resnet50}]"},
        "5:31: attention[1].backbones: 'resnet50' is not known; did you mean 'resnet18'? "
        "Allowed: resnet18",
    ),
    "a backbone of a module twice": (
        {"attention": "[{name: ela, backbones: [resnet18, resnet18]}]"},
        "5:47: attention[0].backbones[1]: 'resnet18' is listed twice",
    ),
    "a backbone without a module": (
        {"backbones": "[resnet18, resnet50]", "attention": "[{name: ela, backbones: resnet18}]"},
        "4:23: backbones[1]: no entry of attention is for resnet50",
    ),
    "an unknown metric": (
        {"metric": "top3"},
        "8:1: metric: 'top3' is not known; did you mean 'top5'? Allowed: top1, top5, loss",
    ),
    "an unknown preset of a module": (
        {"attention": "[{name: ela, preset: [B, XL]}]"},
        "5:37: attention[0].preset[1]: 'XL' is not known; did you mean 'L'? "
        "Allowed: T, T_table4, B, S, L",
    ),
    "an unknown preset of a recipe": (
        {"recipe": "{preset: ela_resnt}"},
        "7:10: recipe.preset: 'ela_resnt' is not known; did you mean 'ela_resnet'? "
        f"Allowed: {PRESETS}",
    ),
    "an unknown preset of a backbone's recipe": (
        {"backbones": "[{name: resnet18, recipe: {preset: ema_cifer}}]"},
        "4:39: backbones[0].recipe.preset: 'ema_cifer' is not known; did you mean 'ema_cifar'? "
        f"Allowed: {PRESETS}",
    ),
    "a preset that is no name": (
        {"recipe": "{preset: {a: 1}}"},
        f"7:10: recipe.preset: {{a: 1}} is not known. Allowed: {PRESETS}",
    ),
    "a preset of a module that is no name": (
        {"attention": "[{name: ela, preset: [[B]]}]"},
        "5:34: attention[0].preset[0]: ['B'] is not known. Allowed: T, T_table4, B, S, L",
    ),
    "a placement that the backbone has not": (
        {"backbones": "[{name: resnet18, placement: [stage3, conv2]}]"},
        "4:50: backbones[0].placement[1]: placement 'conv2' has no sites on resnet18; it has: "
        "stage3, stem_stage, block_last_bn",
    ),
    "a site that the backbone has not": (
        {"backbones": "[{name: resnet18, placement: {name: mine, sites: [layer5]}}]"},
        "4:30: backbones[0].placement: resnet18 has no module 'layer5'; did you mean 'layer4'?",
    ),
    "a site that has no feature map": (
        {"backbones": "[{name: resnet18, placement: {name: mine, sites: [fc]}}]"},
        "4:30: backbones[0].placement: the output of 'fc' in resnet18 is not (B, C, H, W)",
    ),
    "weights that are not offered": (
        {"backbones": "[{name: resnet18, placement: stage3, weights: IMAGENET}]"},
        "4:49: backbones[0].weights: weights 'IMAGENET' are not offered for resnet18; "
        "allowed: IMAGENET1K_V1",
    ),
    # kinds of values
    "text for a number": (
        {"recipe": "{lr: fast}"},
        "7:10: recipe.lr: 'fast' is not a finite number above 0 and up to 1e+30",
    ),
    "a number in quotes": (
        {"recipe": "{epochs: '2'}"},
        "7:10: recipe.epochs: '2' is not a whole number above 0 and up to 100000; "
        "write it without quotes",
    ),
    "a fraction for a whole number": (
        {"recipe": "{epochs: 1.5}"},
        "7:10: recipe.epochs: 1.5 is not a whole number above 0 and up to 100000",
    ),
    "a list where there is no grid": (
        {"recipe": "{epochs: [1, 2]}"},
        "7:10: recipe.epochs: [1, 2] is not a whole number above 0 and up to 100000; "
        "only fields of backbones and "
        "attention take several values, and seeds",
    ),
    "nothing for a number": (
        {"recipe": "{epochs: }"},
        "7:10: recipe.epochs: null is not a whole number above 0 and up to 100000",
    ),
    "nothing for a data set": ({"dataset": ""}, "3:1: dataset: null is not a mapping of fields"),
    "nothing for a list": (
        {"backbones": ""},
        "4:1: backbones: null is not a list with at least one entry",
    ),
    "nothing for a section": ({"recipe": ""}, "7:1: recipe: null is not a mapping of fields"),
    "nothing for a backbone's recipe": (
        {"backbones": "[{name: resnet18, recipe: }]"},
        "4:30: backbones[0].recipe: null is not a mapping of fields",
    ),
    "nothing for the backbones of a module": (
        {"attention": "[{name: ela, backbones: }]"},
        "5:25: attention[0].backbones: null is not known. Allowed: resnet18",
    ),
    "a number for the backbones of a module": (
        {"attention": "[{name: ela, backbones: 18}]"},
        "5:25: attention[0].backbones: 18 is not known. Allowed: resnet18",
    ),
    "a preset for a backbone's recipe": (
        {"backbones": "[{name: resnet18, recipe: ema_cifar}]"},
        "4:30: backbones[0].recipe: 'ema_cifar' is not a mapping of fields",
    ),
    "several recipes of a backbone": (
        {"backbones": "[{name: resnet18, recipe: [{lr: 1}, {lr: 2}]}]"},
        "4:30: backbones[0].recipe: [{lr: 1}, {lr: 2}] is not a mapping of fields",
    ),
    "text for a number of a backbone's recipe": (
        {"backbones": "[{name: resnet18, recipe: {lr: fast}}]"},
        "4:39: backbones[0].recipe.lr: 'fast' is not a finite number above 0 and up to 1e+30",
    ),
    "a word of YAML 1.1": (
        {"recipe": "{nesterov: no}"},
        "7:10: recipe.nesterov: 'no' is not true or false; did you mean false?",
    ),
    "a truth for a number": (
        {"seeds": "[true]"},
        "6:9: seeds[0]: true is not a whole number from 0 and below 4294967296",
    ),
    "a number for text": (
        {"tracking": "{uri: 5000}"},
        "8:12: tracking.uri: 5000 is not text; write it in quotes",
    ),
    "a number for a name": (
        {"study": "12"},
        f"1:1: study: 12 is not allowed; write it in quotes if it is meant as text. {STUDY}",
    ),
    "a single value for a list": (
        {"seeds": "3"},
        "6:1: seeds: 3 is not a list with at least one entry (each a whole number from 0 "
        "and below 4294967296)",
    ),
    "text for a mapping": (
        {"dataset": "digits"},
        "3:1: dataset: 'digits' is not a mapping of fields",
    ),
    "a mapping for a list": (
        {"attention": "{name: ela}"},
        "5:1: attention: {name: 'ela'} is not a list with at least one entry",
    ),
    "a number for an entry": (
        {"attention": "[none, 3]"},
        "5:19: attention[1]: 3 is not a mapping of fields",
    ),
    "a number for a placement": (
        {"backbones": "[{name: resnet18, placement: 3}]"},
        "4:30: backbones[0].placement: 3 is neither a policy's name nor a mapping of name and "
        "sites",
    ),
    "own sites that are no list": (
        {"backbones": "[{name: resnet18, placement: {name: x, sites: layer1}}]"},
        "4:51: backbones[0].placement.sites: 'layer1' is not a list with at least one entry "
        "(each text)",
    ),
    # values
    "a name that no folder can have": (
        {"study": "a b/c"},
        f"1:1: study: 'a b/c' is not allowed. {STUDY}",
    ),
    "an empty question": (
        {"question": "''"},
        "2:1: question: '' is not text of at least one character and of at most 2,000",
    ),
    "a choice that there is not": (
        {"recipe": "{schedule: cosin}"},
        "7:10: recipe.schedule: 'cosin' is not 'constant', 'cosine', 'poly', 'step' or "
        "'one_cycle'; did you mean 'cosine'?",
    ),
    "a choice in a grid": (
        {"backbones": "[{name: resnet18, stem: [auto, cifer]}]"},
        "4:43: backbones[0].stem[1]: 'cifer' is not 'auto', 'imagenet' or 'cifar'; "
        "did you mean 'cifar'?",
    ),
    "below the smallest": (
        {"resources": "{gpus: -0.5}"},
        "8:13: resources.gpus: -0.5 is not 'auto' or a finite number from 0 and up to 1",
    ),
    "above the largest": (
        {"recipe": "{momentum: 1.0}"},
        "7:10: recipe.momentum: 1.0 is not a finite number from 0 and below 1",
    ),
    "infinity": (
        {"recipe": "{weight_decay: .inf}"},
        "7:10: recipe.weight_decay: .inf is not a finite number from 0 and up to 1e+30",
    ),
    "neither a number of images nor a fraction": (
        {"dataset": "{name: digits, val_size: 1.5}"},
        "3:25: dataset.val_size: 1.5 is not a whole number above 0 and up to 1000000000 or a "
        "finite number above 0 and below 1",
    ),
    "an entry of a list": (
        {"seeds": "[0, -1]"},
        "6:12: seeds[1]: -1 is not a whole number from 0 and below 4294967296",
    ),
    "a seed twice": ({"seeds": "[0, 1, 0]"}, "6:15: seeds[2]: 0 is listed twice"),
    "an empty list": (
        {"seeds": "[]"},
        "6:1: seeds: [] is not a list with at least one entry (each a whole number from 0 "
        "and below 4294967296)",
    ),
    "an empty grid": (
        {"attention": "[{name: ela, groups: []}]"},
        "5:25: attention[0].groups: is an empty list; give at least one value, or leave the field "
        "out",
    ),
    "an empty list of backbones of a module": (
        {"attention": "[{name: ela, backbones: []}]"},
        "5:25: attention[0].backbones: is an empty list; give at least one value, or leave the "
        "field out",
    ),
    "a value in a grid that cannot work": (
        {"attention": "[{name: ela, kernel_size: [5, 6, 7]}]"},
        "5:42: attention[0].kernel_size[1]: 6 must be odd, so that the length of a strip is kept",
    ),
    "a value of no known form": (
        {"attention": "[{name: ela, groups: [in_channels, channels/8]}]"},
        f"5:47: attention[0].groups[1]: 'channels/8' is not allowed. {GROUPS}",
    ),
    "a value of two kinds that is neither": (
        {"attention": "[{name: ela, groups: -3}]"},
        f"5:25: attention[0].groups: -3 is not allowed. {GROUPS}",
    ),
    "a hyperparameter without effect": (
        {"attention": "[{name: ca, num_groups: 4}]"},
        '5:24: attention[0].num_groups: 4 has an effect only with norm "gn"',
    ),
    "fields that do not go together": (
        {"recipe": "{epochs: 2, warmup_epochs: 5}"},
        "7:21: recipe.warmup_epochs: warmup_epochs (=5) must not exceed epochs (=2)",
    ),
    "a field that another one needs": (
        {"recipe": "{schedule: step}"},
        "7:10: recipe.schedule: schedule 'step' needs milestones, such as [30, 60]",
    ),
    "a field that belongs to another one": (
        {"recipe": "{milestones: [3]}"},
        "7:10: recipe.milestones: milestones belong to schedule 'step', not 'cosine'",
    ),
    # kinds of studies
    "an unknown kind": (
        {"kind": "leave_one"},
        "8:1: kind: 'leave_one' is not 'grid', 'one_at_a_time', 'leave_one_out' or 'paired'; "
        "did you mean 'leave_one_out'?",
    ),
    "a grid in a module that is taken apart": (
        {"kind": "leave_one_out", "attention": "[{name: ela, preset: [B, L], num_groups: [16]}]"},
        "5:41: attention[0].num_groups: [16] is a list; kind 'leave_one_out' takes one module "
        "apart, and has a list for preset only",
    ),
    "an unknown part": (
        {"kind": "leave_one_out", "attention": "[{name: ela, parts: [no conv, no BN]}]"},
        "5:42: attention[0].parts[1]: 'no BN' is not known; did you mean 'no GN'? "
        "Allowed: no GN, BN for GN, no conv, height only, width only",
    ),
    "a part twice": (
        {"kind": "leave_one_out", "attention": "[{name: ela, parts: [no GN, no GN]}]"},
        "5:40: attention[0].parts[1]: 'no GN' is listed twice",
    ),
    "a part that is no name": (
        {"kind": "leave_one_out", "attention": "[{name: ela, parts: [[no GN]]}]"},
        "5:33: attention[0].parts[0]: ['no GN'] is not known; did you mean 'no GN'? "
        "Allowed: no GN, BN for GN, no conv, height only, width only",
    ),
    "a part alone": (
        {"kind": "leave_one_out", "attention": "[{name: ela, parts: no GN}]"},
        "5:25: attention[0].parts: 'no GN' is not a list with at least one entry",
    ),
    "parts of a module that has none": (
        {"kind": "leave_one_out", "attention": "[{name: nam, parts: [no norm]}]"},
        "5:25: attention[0].parts: unknown field. Allowed: name, backbones",
    ),
    "parts in a grid": (
        {"attention": "[{name: ela, parts: [no GN]}]"},
        "5:25: attention[0].parts: is for kind 'leave_one_out', not 'grid'",
    ),
    "a part that this setting has not": (
        {"kind": "leave_one_out", "attention": "[{name: ca, preset: ela_paper_gn}]"},
        "5:13: attention[0]: 'no BN' is not there to take (norm is 'gn'): name the others in parts",
    ),
    "a part that is not there": (
        {"kind": "leave_one_out", "attention": "[{name: se, reduction: 1}]"},
        "5:13: attention[0]: 'no reduction' changes nothing here: name the others in parts",
    ),
    "the last part": (
        {
            "kind": "leave_one_out",
            "attention": "[{name: sa, groups: 8, channel: false, parts: [no spatial]}]",
        },
        "5:59: attention[0].parts[0]: 'no spatial' cannot be had here: spatial must be true where "
        "channel is false: nothing would be left",
    ),
    "a baseline without a module": (
        {"kind": "paired", "seeds": "[0, 1, 2]", "attention": "[none]"},
        "5:1: attention: kind 'paired' compares modules with 'none'; name at least one",
    ),
    "a pair without a baseline": (
        {"kind": "paired", "attention": "[ela]", "seeds": "[0, 1, 2]"},
        "4:13: backbones[0]: kind 'paired' compares with the baseline: attention needs 'none' for "
        "resnet18",
    ),
    "a pair without a baseline on one backbone": (
        {
            "kind": "paired",
            "backbones": "[resnet18, resnet50]",
            "attention": "[ela, {name: none, backbones: resnet18}]",
            "seeds": "[0, 1, 2]",
        },
        "4:23: backbones[1]: kind 'paired' compares with the baseline: attention needs 'none' for "
        "resnet50",
    ),
    "too few pairs": (
        {"kind": "paired", "seeds": "[0, 1]"},
        "6:1: seeds: kind 'paired' needs 3 or more, not 2",
    ),
    "fewer pairs than are asked for": (
        {"kind": "paired", "seeds": "[0, 1, 2]", "paired": "{min_seeds: 4}"},
        "6:1: seeds: kind 'paired' needs 4 or more, not 3",
    ),
    "pairs in a grid": ({"paired": "{}"}, "8:1: paired: is for kind 'paired', not 'grid'"),
    "a chance that is none": (
        {"kind": "paired", "seeds": "[0, 1, 2]", "paired": "{alpha: 1}"},
        "9:10: paired.alpha: 1 is not a finite number from 0.001 and up to 0.5",
    ),
    "a margin of nothing": (
        {"kind": "paired", "seeds": "[0, 1, 2]", "paired": "{margin: 0}"},
        "9:10: paired.margin: 0 is not a finite number above 0",
    ),
    "one pair": (
        {"kind": "paired", "seeds": "[0, 1, 2]", "paired": "{min_seeds: 1}"},
        "9:10: paired.min_seeds: 1 is not a whole number from 2 and up to 100000",
    ),
    # constraints
    "an unknown constraint": (
        {"constraints": "{max_params: 12}"},
        "8:15: constraints.max_params: unknown field; did you mean 'max_params_m'? "
        "Allowed: max_params_m, max_macs_g, where",
    ),
    "no parameters at all": (
        {"constraints": "{max_params_m: 0}"},
        "8:15: constraints.max_params_m: 0 is not a finite number above 0",
    ),
    "an expression alone": (
        {"constraints": "{where: epochs < 3}"},
        "8:15: constraints.where: 'epochs < 3' is not a list (each text)",
    ),
    "an unknown name in an expression": (
        {"constraints": "{where: [epochs < 3, kernal_size < 9]}"},
        "8:35: constraints.where[1]: 'kernal_size' is not known; did you mean 'kernel_size'? "
        f"Allowed: {NAMES}; text is written in quotes",
    ),
    "no expression": (
        {"constraints": "{where: ['epochs <']}"},
        "8:23: constraints.where[0]: 'epochs <' is no expression: invalid syntax; such as "
        "kernel_size * num_groups <= 128",
    ),
    "an expression that is no condition": (
        {"constraints": "{where: [kernel_size * 2]}"},
        "8:23: constraints.where[0]: 'kernel_size * 2' is neither true nor false; write a "
        "comparison, such as kernel_size * num_groups <= 128",
    ),
    "an expression that calls": (
        {"constraints": "{where: [abs(epochs) < 3]}"},
        f"8:23: constraints.where[0]: 'abs(epochs)' is not allowed. {TERMS}",
    ),
    "an expression without an answer": (
        {"attention": "[ela]", "constraints": "{where: [reduction < 8, groups < 8]}"},
        "8:38: constraints.where[1]: groups < 8 cannot be told for groups 'in_channels': it "
        "compares text with a number",
    ),
    # a search and its ranges
    "an unknown search": (
        {"search": "tpee"},
        "8:1: search: 'tpee' is not 'grid', 'random', 'tpe' or 'nsga2'; did you mean 'tpe'?",
    ),
    "an unknown scheduler": (
        {"scheduler": "{method: hyperband}"},
        "8:13: scheduler.method: 'hyperband' is not 'none', 'asha', 'median' or 'pbt'",
    ),
    "an unknown field of a search": (
        {"search": "{method: tpe, trails: 3}"},
        "8:23: search.trails: unknown field; did you mean 'trials'? "
        "Allowed: method, trials, seed, objectives",
    ),
    "a budget of a grid": (
        {"search": "{trials: 10}"},
        "8:10: search.trials: trials belongs to a search, not to 'grid'",
    ),
    "a field of another scheduler": (
        {"scheduler": "{method: median, min_epochs: 1, reduction_factor: 3}"},
        "8:44: scheduler.reduction_factor: reduction_factor belongs to asha, not 'median'",
    ),
    "a first objective that is not compared": (
        {"search": "{method: tpe, objectives: [top5, params]}"},
        "8:36: search.objectives[0]: 'top5' is not known; did you mean 'top1'? Allowed: top1",
    ),
    "an objective that there is not": (
        {"search": "{method: nsga2, objectives: [top1, parameters]}"},
        "8:44: search.objectives[1]: 'parameters' is not known; did you mean 'params'? "
        "Allowed: params, macs, latency",
    ),
    "three objectives": (
        {"search": "{method: nsga2, objectives: [top1, params, macs]}"},
        "8:25: search.objectives: ['top1', 'params', 'macs'] is not a list with at least one "
        "entry and at most 2 (each text)",
    ),
    "a scheduler of two objectives": (
        {
            "search": "{method: tpe, objectives: [top1, macs]}",
            "scheduler": "{method: asha, min_epochs: 1}",
        },
        "9:1: scheduler: asha stops by top1 alone, and a trial may be good for its macs; "
        "leave one of them out",
    ),
    "trials that end before they are compared": (
        {"scheduler": "{method: asha, min_epochs: 2}"},
        "8:27: scheduler.min_epochs: min_epochs (=2) must be below epochs (=2)",
    ),
    "trials that are compared while they warm up": (
        {"scheduler": "{method: asha, min_epochs: 3}", "recipe": "{epochs: 9, warmup_epochs: 4}"},
        "8:27: scheduler.min_epochs: min_epochs (=3) must not be below warmup_epochs (=4)",
    ),
    "a range of warm-ups that end after a comparison": (
        {
            "search": "random",
            "scheduler": "median",
            "recipe": "{epochs: 9, warmup_epochs: {low: 0, high: 5}}",
        },
        "9:1: scheduler: min_epochs (=3) must not be below warmup_epochs (=5)",
    ),
    "a field of no population": (
        {"scheduler": "{method: pbt, min_epochs: 1}"},
        "8:26: scheduler.min_epochs: min_epochs belongs to asha and median, not 'pbt'",
    ),
    "a population of a grid": (
        {"scheduler": "{method: pbt, interval: 1}"},
        "8:1: scheduler: 'pbt' needs `search: random` for its first generation, not 'grid'",
    ),
    "a population of three": (
        {**POPULATION, "search": "{method: random, trials: 3}"},
        "9:26: search.trials: 'pbt' needs 4 members or more, not 3",
    ),
    "a population that is one generation": (
        {**POPULATION, "scheduler": "{method: pbt, interval: 2}"},
        "8:26: scheduler.interval: interval (=2) must be below epochs (=2)",
    ),
    "a population that is compared while it warms up": (
        {
            **POPULATION,
            "scheduler": "{method: pbt, interval: 3}",
            "recipe": "{epochs: 9, warmup_epochs: 4, lr: {low: 0.1, high: 1}}",
        },
        "8:26: scheduler.interval: interval (=3) must not be below warmup_epochs (=4)",
    ),
    "a population of trials that may end before": (
        {**POPULATION, "stopping": "{patience: 3}"},
        "10:12: stopping.patience: 'pbt' compares members of one age; leave patience out",
    ),
    "a population without a range": (
        {**POPULATION, "recipe": "{epochs: 2}"},
        f"8:1: scheduler: 'pbt' needs a range of {CHANGEABLE}",
    ),
    "a population of batch sizes": (
        {**POPULATION, "recipe": "{lr: {low: 0.1, high: 1}, batch_size: {low: 8, high: 16}}"},
        f"7:35: recipe.batch_size: 'pbt' searches what can change in training: {CHANGEABLE}",
    ),
    "a population of modules": (
        {**POPULATION, "attention": "[{name: ela, kernel_size: {low: 3, high: 7, step: 2}}]"},
        f"5:25: attention[0].kernel_size: 'pbt' searches what can change in training: {CHANGEABLE}",
    ),
    "a range of one backbone's population": (
        {**POPULATION, "backbones": "[{name: resnet18, recipe: {momentum: {low: 0, high: 0.9}}}]"},
        "4:39: backbones[0].recipe.momentum: 'pbt' searches what can change in training: "
        f"{CHANGEABLE}",
    ),
    "a backbone whose population is not searched": (
        {**POPULATION, "backbones": "[{name: resnet18, recipe: {lr: 0.1}}]"},
        "4:39: backbones[0].recipe.lr: 'pbt' searches lr on every backbone alike",
    ),
    "a population of steps": (
        {**POPULATION, "recipe": "{epochs: 2, lr: {low: 0.1, high: 1, step: 0.1}}"},
        "7:45: recipe.lr.step: 'pbt' multiplies; leave step out",
    ),
    "a range in a grid": (
        {"recipe": "{lr: {low: 0.01, high: 1}}"},
        f"7:10: recipe.lr: {{low: 0.01, high: 1}}: {RANGE}",
    ),
    "a range of a module in a grid": (
        {"attention": "[{name: ela, kernel_size: {low: 3, high: 7, step: 2}}]"},
        f"5:25: attention[0].kernel_size: {{low: 3, high: 7, step: 2}}: {RANGE}",
    ),
    "a range the wrong way round": (
        {"search": "tpe", "recipe": "{lr: {low: 1, high: 0.1}}"},
        "7:23: recipe.lr.high: high (=0.1) must be above low (=1)",
    ),
    "a range without an end": (
        {"search": "tpe", "recipe": "{lr: {low: 1}}"},
        "7:10: recipe.lr.high: is required. Largest value.",
    ),
    "an unknown field of a range": (
        {"search": "tpe", "recipe": "{lr: {low: 1, high: 2, steps: 1}}"},
        "7:32: recipe.lr.steps: unknown field; did you mean 'step'? Allowed: low, high, step, log",
    ),
    "a logarithmic range from zero": (
        {"search": "tpe", "recipe": "{weight_decay: {low: 0, high: 1, log: true}}"},
        "7:25: recipe.weight_decay.low: low (=0) must be above 0 on a logarithmic scale",
    ),
    "a step that misses the end": (
        {"search": "tpe", "attention": "[{name: ela, kernel_size: {low: 3, high: 8, step: 2}}]"},
        "5:56: attention[0].kernel_size.step: step (=2) does not lead from low to high",
    ),
    "an end of a range that cannot work": (
        {"search": "tpe", "recipe": "{momentum: {low: 0.5, high: 1.0}}"},
        "7:31: recipe.momentum.high: 1.0 is not a finite number from 0 and below 1",
    ),
    "a value between the ends that cannot work": (
        {"search": "tpe", "attention": "[{name: ela, kernel_size: {low: 3, high: 9}}]"},
        "5:25: attention[0].kernel_size: 4 must be odd, so that the length of a strip is kept",
    ),
    "a fraction in a range of whole numbers": (
        {"search": "tpe", "recipe": "{epochs: 2, batch_size: {low: 8, high: 16.5}}"},
        "7:42: recipe.batch_size.high: 16.5 is not a whole number above 0 and up to 100000",
    ),
    "a step of a fraction between whole numbers": (
        {"search": "tpe", "attention": "[{name: ema, factor: {low: 8, high: 10, step: 0.5}}]"},
        "5:52: attention[0].factor.step: 8.5 is not a whole number above 0",
    ),
    "a range of what is no number": (
        {"search": "tpe", "recipe": "{optimizer: {low: 1, high: 2}}"},
        "7:22: recipe.optimizer.low: 1 is not 'sgd' or 'adamw'",
    ),
    # the text
    "a field twice": ({"recipe": "{lr: 1, lr: 2}"}, "7:17: recipe.lr: is given twice"),
    "a tag": (
        {"recipe": "{lr: !!python/object/apply:os.system [ls]}"},
        "7:14: recipe.lr: tags such as !name are not allowed",
    ),
    "a field that is no text": ({"1": "2"}, "8:1: 1: a field's name must be text"),
    "no YAML": ({"seeds": "[0"}, "7:7: is not YAML: expected ',' or ']', but got ':'"),
}


def bad(name: str) -> str:
    fields, message = BAD[name]
    Path("space.yaml").write_text(text_of(**fields), encoding="utf-8")
    return f"error: space.yaml:{message}\n"


@pytest.mark.parametrize("name", BAD)
def test_a_mistake_is_said_once_and_clearly(name: str) -> None:
    expected = bad(name)
    result = call("plan", "space.yaml")
    assert result.err == expected
    assert (result.code, result.out) == (2, "")


@pytest.mark.parametrize("name", BAD)
def test_the_place_is_where_the_field_stands(name: str) -> None:
    _, _, line, column, path, message, *_ = bad(name).split(":")
    if "required" in message or "is not YAML" in path:
        return  # where it would stand, or where reading ended
    here = Path("space.yaml").read_text(encoding="utf-8").splitlines()[int(line) - 1]
    before, rest = here[: int(column) - 1], here[int(column) - 1 :]
    if path.endswith("]") or rest[0] == "!" or name == "an unknown backbone":
        assert before.endswith(("[", ", ", ": "))  # an entry of a list, or a tag
    else:
        assert rest.startswith(path.strip().rpartition(".")[2])


def test_the_small_space_itself_is_good() -> None:
    Path("space.yaml").write_text(text_of(), encoding="utf-8")
    assert call("plan", "space.yaml").code == 0


def test_all_mistakes_of_a_file_come_at_once_and_in_its_order() -> None:
    Path("space.yaml").write_text(
        "study: s\n"
        "study: t\n"
        "dataset:\n"
        "  name: digit\n"
        "backbones: [resnet81]\n"
        "attention:\n"
        "  - name: ela\n"
        "    kernel_size: [4, 5]\n"
        "    num_groups: 0\n"
        "  - ema:\n"
        "seeds: [0, 0]\n"
        "recipe: !best\n"
        "  epochs: 0\n"
        "  lr: 0\n"
        "resorces: {}\n",
        encoding="utf-8",
    )
    result = call("plan", "space.yaml", "recipe.gamma=2", "nonsense")
    assert result.code == 2
    assert [line.partition(" is ")[0] for line in result.err.splitlines()] == [
        "error: space.yaml:1:1: question:",
        "error: space.yaml:2:1: study:",
        "error: space.yaml:4:3: dataset.name: 'digit'",
        "error: space.yaml:5:13: backbones[0].name: 'resnet81'",
        "error: space.yaml:8:19: attention[0].kernel_size[0]: 4 must be odd, so that the length "
        "of a strip",
        "error: space.yaml:9:5: attention[0].num_groups: 0",
        "error: space.yaml:10:5: attention[1].name:",
        "error: space.yaml:11:12: seeds[1]: 0",
        "error: space.yaml:12:9: recipe: tags such as !name are not allowed",
        "error: space.yaml:13:3: recipe.epochs: 0",
        "error: space.yaml:14:3: recipe.lr: 0",
        f"error: space.yaml:15:1: resorces: unknown field; did you mean 'resources'? "
        f"Allowed: {FIELDS}",
        "error: override 'recipe.gamma=2': recipe.gamma: 2",
        "error: override 'nonsense': write it as field=value, like recipe.epochs=1",
    ]


def test_all_mistakes_of_a_section_come_at_once() -> None:
    Path("space.yaml").write_text(
        text_of(recipe="\n  epochs: 0\n  lr: -1\n  precision: fp8\n  nesterov: 1\n"),
        encoding="utf-8",
    )
    result = call("plan", "space.yaml")
    assert result.err.splitlines() == [
        "error: space.yaml:8:3: recipe.epochs: 0 is not a whole number above 0 and up to 100000",
        "error: space.yaml:9:3: recipe.lr: -1 is not a finite number above 0 and up to 1e+30",
        "error: space.yaml:10:3: recipe.precision: 'fp8' is not 'fp32', 'tf32', 'bf16' or 'fp16'; "
        "did you mean 'fp32'?",
        "error: space.yaml:11:3: recipe.nesterov: 1 is not true or false",
    ]


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("{epochs: 0}", "recipe.epochs: 0 is not"),
        ("{lr: 1, lr: 2}", "recipe.lr: is given twice"),
        ("{preset: ema_cifer}", "recipe.preset: 'ema_cifer' is not"),
        ("{epochs: 2, warmup_epochs: 5}", "recipe.warmup_epochs: warmup_epochs (=5) must not"),
        ("ema_cifar", "recipe: 'ema_cifar' is not"),
    ],
)
def test_a_mistake_in_the_recipe_of_all_is_said_once(recipe: str, message: str) -> None:
    own = ", ".join(f"{{name: resnet{depth}, recipe: {{momentum: 0.5}}}}" for depth in (18, 50))
    Path("space.yaml").write_text(text_of(backbones=f"[{own}]", recipe=recipe), encoding="utf-8")
    (line,) = call("plan", "space.yaml").err.splitlines()
    assert line.partition(": ")[2].partition(" ")[2].startswith(message)


@pytest.mark.parametrize(
    ("recipe", "own", "message"),
    [
        (
            "{epochs: 9, warmup_epochs: 5}",
            "{epochs: 2}",
            "warmup_epochs: warmup_epochs (=5) must not exceed epochs (=2)",
        ),
        (
            "{epochs: 9, accumulate: 8}",
            "{batch_size: 4}",
            "accumulate: accumulate (=8) must not exceed batch_size (=4)",
        ),
    ],
)
def test_a_recipe_that_does_not_go_with_that_of_all_is_said_where_it_is(
    recipe: str, own: str, message: str
) -> None:
    backbones = f"[resnet50, {{name: resnet18, recipe: {own}}}]"
    Path("space.yaml").write_text(text_of(backbones=backbones, recipe=recipe), encoding="utf-8")
    result = call("plan", "space.yaml")
    assert result.err == f"error: space.yaml:4:40: backbones[1].recipe.{message}\n"


def test_milestones_of_a_backbone_need_a_schedule_with_steps() -> None:
    own = "{preset: ela_mobilenet_v2, milestones: [3]}"
    backbones = f"[resnet50, {{name: resnet18, recipe: {own}}}]"
    fields = {"backbones": backbones, "recipe": "{preset: he2016_resnet}"}
    Path("space.yaml").write_text(text_of(**fields), encoding="utf-8")
    assert call("plan", "space.yaml").err == (
        "error: space.yaml:4:75: backbones[1].recipe.milestones: "
        "milestones belong to schedule 'step', not 'cosine'\n"
    )


@pytest.mark.parametrize(
    "beside",
    [
        "milestones: [3]",
        "milestones: [3], gamma: 0.2",
        "schedule: step",
        "warmup_epochs: 100",
        "accumulate: 200",
    ],
)
def test_an_unknown_preset_is_no_second_mistake(beside: str) -> None:
    """What stands beside it may go with the preset that is meant, of which nothing is known."""
    Path("space.yaml").write_text(
        text_of(recipe=f"{{preset: he2016_resnett, {beside}}}"), encoding="utf-8"
    )
    (line,) = call("plan", "space.yaml").err.splitlines()
    assert line.startswith("error: space.yaml:7:10: recipe.preset: 'he2016_resnett' is not known;")


@pytest.mark.parametrize("beside", ["lr: 1", "schedule: cosine", "milestones: [3]"])
def test_an_unknown_preset_of_a_backbone_is_no_second_mistake(beside: str) -> None:
    backbones = f"[resnet50, {{name: resnet18, recipe: {{preset: nobody, {beside}}}}}]"
    fields = {"backbones": backbones, "recipe": "{preset: he2016_resnet, milestones: [30, 60]}"}
    Path("space.yaml").write_text(text_of(**fields), encoding="utf-8")
    (line,) = call("plan", "space.yaml").err.splitlines()
    assert line.startswith(
        "error: space.yaml:4:49: backbones[1].recipe.preset: 'nobody' is not known"
    )


def test_a_mistake_in_a_backbone_is_not_said_of_modules_that_are_for_it() -> None:
    Path("space.yaml").write_text(
        text_of(backbones="[resnet5O]", attention="[{name: ela, backbones: [resnet50]}]"),
        encoding="utf-8",
    )
    (line,) = call("plan", "space.yaml").err.splitlines()
    assert "backbones[0].name: 'resnet5O' is not known" in line


def test_every_backbone_for_another_task_is_said() -> None:
    fields = {"task": "segmentation", "dataset": "{name: voc2012_aug}"}
    backbones = "[deeplabv3_resnet50, resnet18, {name: yolov5s}]"
    Path("space.yaml").write_text(text_of(backbones=backbones, **fields), encoding="utf-8")
    assert call("plan", "space.yaml").err.splitlines() == [
        "error: space.yaml:4:33: backbones[1].name: resnet18 is for classification, "
        "not segmentation",
        "error: space.yaml:4:44: backbones[2].name: yolov5s is for detection, not segmentation",
    ]


def test_a_mistake_in_a_grid_is_said_once_for_all_its_points() -> None:
    Path("space.yaml").write_text(
        text_of(attention="[{name: ela, kernel_size: [4, 5], groups: [1, 2], num_groups: [1, 2]}]"),
        encoding="utf-8",
    )
    assert len(call("plan", "space.yaml").err.splitlines()) == 1


def test_a_long_value_is_cut_off() -> None:
    Path("space.yaml").write_text(text_of(recipe=f"{{lr: {'x' * 5000}}}"), encoding="utf-8")
    (line,) = call("plan", "space.yaml").err.splitlines()
    assert line.endswith("xxx... is not a finite number above 0 and up to 1e+30")
    assert len(line) < 150


@pytest.mark.parametrize("command", ["run", "plan"])
def test_every_command_that_reads_a_space_says_it_alike(command: str) -> None:
    expected = bad("an unknown field")
    result = call(command, "space.yaml")
    assert (result.code, result.out, result.err) == (2, "", expected)
    assert not Path("sweeps").exists()


@pytest.mark.parametrize("name", ["no YAML", "text for a number"])
def test_the_installed_command_says_it_too(name: str) -> None:
    expected = bad(name)
    command = Path(sys.executable).with_name("sweep")
    result = subprocess.run(
        [command, "plan", "space.yaml"], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout, result.stderr) == (2, "", expected)
