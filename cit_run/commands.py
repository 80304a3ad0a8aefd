"""The shell commands that set a job up by hand: `cit try --commands` (docs/howto/take-it-home.md). Pure.

Reads: the sections before the first signature. Yields: a script for any POSIX sh with git, tar and base64, to be run in a new directory or read.
How: no text of the job stands in it unquoted: words in single quotes, whole texts in here-documents whose end stands nowhere in them, what is no
such text as base64.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from .cit_format import body
from .cit_format.document import Document, is_text
from .plan import NONE, Plan, Tree, planned, signed

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PLAIN = re.compile(r"[A-Za-z0-9_./:@=+,][A-Za-z0-9_./:@=+,-]*")
END = "THE_END"


def word(text: str) -> str:
    """A word for the shell, whatever it holds."""
    return text if _PLAIN.fullmatch(text) else "'" + text.replace("'", "'\\''") + "'"


def remark(text: str) -> str:
    """A comment of one line."""
    return "# " + "".join(letter if letter.isprintable() else " " for letter in text)


def piped(raw: bytes, command: str) -> str:
    """A command that is given these bytes on stdin."""
    if is_text(raw):
        text, end = raw.decode(), END
        while f"\n{end}\n" in f"\n{text}":
            end += "_"
        return f"{command} <<'{end}'\n{text}{end}"
    return f"base64 -d <<'{END}' | {command}\n{body.to_base64(raw).decode()}{END}"


def below(path: str) -> str:
    """A path in the workspace as a word; never one that looks like an option."""
    return word(path if path == "." else f"./{path}")


def sources(plan: Plan) -> Iterator[str]:
    """Each tree at its commit."""
    for tree in plan.trees:
        place = below(tree.path)
        yield remark(f"source {tree.path}: {tree.commit} ({tree.ref})")
        if tree.url == NONE:
            yield f"git init -q {place}"
        else:
            yield f"git clone -q --no-checkout -- {word(tree.url)} {place}"
        yield from brought(tree, plan.bundles.get(tree.path))
        yield f"git -C {place} checkout -q --detach {tree.commit}"
    for raw in plan.archives:
        yield remark("files that came with it")
        yield piped(raw, "tar -x -f - -o")
    for change in plan.patches:
        yield remark(f"a change that is in no commit: {change.files} files, {change.lines} lines")
        yield piped(change.text, f"git -C {below(change.path)} apply --index --whitespace=nowarn -")


def brought(tree: Tree, bundle: bytes | None) -> Iterator[str]:
    """Commits that came with the job, or that no branch of the remote leads to."""
    place = below(tree.path)
    if bundle is not None:
        yield piped(bundle, "cat >.cit/bundle")
        yield f'git -C {place} fetch -q -- "$CIT_WORKSPACE/.cit/bundle" HEAD'
    elif tree.url != NONE:
        yield f"git -C {place} cat-file -e {tree.commit} 2>/dev/null || git -C {place} fetch -q -- {word(tree.url)} {tree.commit}"


def missing(job: Document, needs: bool = True) -> Iterator[str]:
    """What a job has and nobody but its builder gets, a sentence each; `needs` can be had where it is run."""
    for section in signed(job):
        if section.kind == "secret":
            yield f"the secret {section.attributes.get('name', '')} is sealed for {section.attributes.get('to', 'somebody')}"
        elif section.kind == "script" and section.attributes.get("enc") == "age":
            yield f"the script is sealed for {section.attributes.get('to', 'somebody')}"
        elif section.kind == "needs" and needs:
            yield from (f"it needs {row[2]}: {row[1]} bytes, sha256 {row[0]}" for row in section.rows() if len(row) > 2)
        elif section.kind == "call":
            yield f"it calls the interface {section.table().get('interface', '')} of its builder"


def variables(job: Document) -> list[tuple[str, str]]:
    """The variables that it is run with, beside those of the account."""
    asked = [(row[0], row[1]) for section in signed(job) if section.kind == "env" for row in section.rows() if len(row) == 2]
    return [*asked, ("CIT_JOB_ID", job.id), ("CIT_JOB_NAME", job.name), ("CIT_ATTEMPT", "1")]


def commands(job: Document, author: str) -> str:
    """The script; `author` says who signed the job, for people."""
    said, plan = job.table("job"), planned(job)
    directory = f"{job.name}-{job.id[-6:]}"
    lines = [remark(f"job {job.name} {job.id}, {author}")]
    lines += [remark(f"not here: {each}") for each in missing(job)]
    lines += ["set -e", f"mkdir {word(directory)} && cd {word(directory)}", 'export CIT_WORKSPACE="$PWD"', "mkdir .cit"]
    if any(section.kind == "secret" for section in signed(job)):
        lines += [remark("put its secrets there, a file each"), 'mkdir -m 700 .cit/secrets && export CIT_SECRETS="$PWD/.cit/secrets"']
    own = "mv .cit ../.cit-$$" if any(tree.path == "." and tree.url != NONE for tree in plan.trees) else ""
    lines += [each for each in (own,) if each]
    steps = list(sources(plan))
    if own:  # git clones into an empty directory only
        at = next(number for number, line in enumerate(steps) if line.startswith("git clone") and line.endswith(" ."))
        steps.insert(at + 1, "mv ../.cit-$$ .cit")
    lines += steps
    if plan.config:
        lines.append(piped(plan.config, "cat >.cit/config.tsv"))
    others = []
    for name, value in variables(job):
        if _NAME.fullmatch(name):
            lines.append(f"export {name}={word(value)}")
        else:
            others.append(word(f"{name}={value}"))
    if isinstance(said.get("environment"), str):
        lines.append(remark(f"what it is built with, its builder asks by: {said['environment']}"))
    script = job.find("script")
    if script is not None and script.attributes.get("enc") != "age":
        text = script.body()
        lines += [piped(text, "cat >.cit/script"), "chmod +x .cit/script"]
        where = str(said.get("builddir", "."))
        if where != ".":
            lines.append(f"mkdir -p {below(where)} && cd {below(where)}")
        program = '"$CIT_WORKSPACE/.cit/script"' if text.startswith(b"#!") else '/bin/sh "$CIT_WORKSPACE/.cit/script"'
        lines.append(" ".join([*(["env", *others] if others else []), program]))
    return "\n".join(lines) + "\n"
