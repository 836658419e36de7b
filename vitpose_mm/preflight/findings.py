"""What the pre-flight check found, and how it is told."""

import dataclasses
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Optional

Severity = Literal['fault', 'warning']

NUM_EXAMPLES = 3
# Below, shares say nothing about how a file was made: a few people may all be odd.
LEAST_PEOPLE = 20
NOTHING_FOUND = 'Nothing found that would keep this from training.'
WIDTH = 100


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        severity: 'fault' for what keeps a model from learning or being judged rightly, 'warning'
            for what should be looked at.
        kind: Short name of the rule, for programs.
        message: What is wrong, in plain words, with numbers.
        advice: What to do about it.
        where: Data set or part of the config; '' until the one who asked fills it in.
        count: How many annotations, images, ... are concerned; 0 where nothing is counted.
        examples: The first of them.
    """

    severity: Severity
    kind: str
    message: str
    advice: str
    where: str = ''
    count: int = 0
    examples: tuple[str, ...] = ()


def severity_by_share(
    count: int, total: int, fault_from: float, warning_from: float = 0.0
) -> Optional[Severity]:
    """How severe it is that ``count`` of ``total`` are concerned; None if it is nothing to tell.

    Args:
        fault_from: Share from which it is a fault.
        warning_from: Share from which it is a warning; one is always needed.
    """
    if not count or count < warning_from * total:
        return None
    return 'fault' if count >= fault_from * total else 'warning'


def located(findings: Iterable[Finding], where: str) -> list[Finding]:
    """Findings with their place filled in."""
    return [dataclasses.replace(each, where=where) for each in findings]


def has_faults(findings: Iterable[Finding]) -> bool:
    return any(each.severity == 'fault' for each in findings)


def format_findings(findings: Sequence[Finding]) -> str:
    """Findings in groups by place, faults first, and a last line that counts them."""
    faults = sum(each.severity == 'fault' for each in findings)
    groups: dict[str, list[Finding]] = {}
    for each in findings:
        groups.setdefault(each.where, []).append(each)
    lines = []
    for where in sorted(groups, key=lambda name: not has_faults(groups[name])):
        lines += [where, '-' * min(len(where), WIDTH)]
        for each in sorted(groups[where], key=lambda each: each.severity != 'fault'):
            lines += _format(each)
        lines.append('')
    if not findings:
        return NOTHING_FOUND
    warnings = len(findings) - faults
    last = f'{faults} fault{"s"[: faults != 1]}, {warnings} warning{"s"[: warnings != 1]}'
    return '\n'.join([*lines, last])


def _format(finding: Finding) -> list[str]:
    lines = _wrapped(f'{finding.severity.upper()}: {finding.message}', '')
    if finding.examples:
        more = ', ...' if finding.count > len(finding.examples) else ''
        lines += _wrapped('such as ' + ', '.join(finding.examples) + more, '  ')
    return lines + _wrapped(f'-> {finding.advice}', '  ')


def _wrapped(text: str, indent: str) -> list[str]:
    # entries of configs and paths must stay whole, to be copied
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent + '  ',
        break_long_words=False,
        break_on_hyphens=False,
    )
