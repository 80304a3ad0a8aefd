"""What a queue refuses, as cases for make-stages: not signed as it must be (77), no job as it must be, unreadable, cut (65)."""

from __future__ import annotations

from collections.abc import Iterator

import stage_kit as kit
from stage_kit import SCRIPT, Case, event, fingerprint, framed, job, section, sign, signature, unsigned


def cases() -> Iterator[Case]:
    for group in (unsigned_or_wrong, misshapen, unreadable, unframed):
        yield from group()


def unsigned_or_wrong() -> Iterator[Case]:
    """What is not signed as it must be: 77."""

    def denied(name: str, about: str, document: bytes, *says: str) -> Case:
        return Case(name, about).refuses(document, 77, "not signed as it must be", *says)

    one, text = job(), unsigned()
    assert one.count(b"-j2") == 1
    yield denied("byte-flipped", "One letter of the script is another.", one.replace(b"-j2", b"-j3"), "signature|verif")
    yield denied("blank-added", "A blank at the end of a line of the script.", one.replace(b"check\n", b"check \n"), "signature|verif")
    yield denied(
        "section-inserted", "A section before the signature that its signer did not see.", text + section("env 1 tsv", "A\tb\n") + signature(text)
    )
    yield denied("unsigned", "No signature.", text, "no signature")
    yield denied("key-not-listed", "Signed well, by a key that allowed_signers does not have.", job(who="ben"), "ben@sun|verif|not in")
    yield denied("key-for-another-namespace", "Signed by a key that is listed for cit-control only.", job(who="carl"), "verif|cit-job")
    yield denied("key-revoked", "Signed by a key that is allowed and revoked.", job(who="dora"), "revoked|verif")
    yield denied("key-expired", "Signed by a key whose valid-before= is over.", job(who="eve"), "valid|expired|verif")
    yield denied("key-not-yet", "Signed by a key whose valid-after= is to come.", job(who="fay"), "valid|verif")
    case = denied("rsa-1024", "Signed with RSA of 1024 bits, which ssh-keygen accepts.", job(who="rod"), "RSA|2048|bits")
    case.before["allowed_signers"] = (kit.STAGES / "queue/in" / kit.HOME_QUEUE / "allowed_signers").read_bytes() + kit.allowed("rod", "cit-job")
    yield case
    signed = signature(text, namespace="cit-control")
    yield denied("signature-for-another-namespace", "Signed for cit-control; the line says cit-job.", text + signed, "namespace|verif|cit-job")
    yield denied("signature-of-another-job", "The signature of another job of the same person.", text + signature(unsigned(1)), "signature|verif")
    yield denied("by-of-another", "by= names another person than the key.", text + signature(text, "ben", key="ada"), "ben@sun|not signed by")
    yield denied("by-missing", "The signature does not say by whom.", one.replace(b" by=ada@sun", b""), "by|not signed")
    yield denied(
        "ns-of-another", "ns= names another namespace than the signature.", text + signature(text, ns="cit-control", namespace="cit-job"), "cit-"
    )
    mine = unsigned(submitter='"carl@sun"')
    yield denied(
        "submitter-of-another",
        "The job names another submitter than the key that signed it.",
        mine + signature(mine),
        "carl@sun|submitter|not signed",
    )
    mine = unsigned(key=f'"{fingerprint("carl")}"')
    yield denied("key-of-another", "The job names another key than the one that signed it.", mine + signature(mine), "key")
    armour = sign(text, "ada", "cit-job")
    yield denied(
        "armour-with-text-after",
        "Text after the armour, which ssh-keygen reads past.",
        text + signature(text, armour=armour + b"more\n"),
        "armour|signature",
    )
    yield denied(
        "armour-cut",
        "The last line of the armour is missing.",
        text + signature(text, armour=armour[: armour.rindex(b"-----END")]),
        "armour|signature",
    )
    yield denied(
        "armour-empty", "A signature section without an armour.", text + section("signature 1 sshsig by=ada@sun ns=cit-job"), "armour|signature"
    )
    yield denied("queue-of-another-name", "The job is for another queue.", job(queue=f'"main@{fingerprint("queue")}"'), "queue")
    yield denied(
        "queue-of-another-key", "The right name, another queue: its founding key is another.", job(queue=f'"lab@{fingerprint("ben")}"'), "queue"
    )
    yield denied("queue-without-key", "A name alone is no queue.", job(queue='"lab"'), "queue")
    yield denied("job-expired", "Its time is over.", job(created="2026-11-20T20:26:11Z", expires="2026-11-23T20:26:11Z"), "expired")
    yield denied("job-from-the-future", "Made more than 5 minutes from now.", job(created="2026-11-23T20:31:13Z"), "future|created")
    yield denied("job-valid-too-long", "Valid for 30 days and a second.", job(expires="2026-12-23T20:26:12Z"), "30 days")
    yield denied(
        "event-after-signature",
        "A new job ends with its first signature: it cannot bring an event of a stage.",
        one + event("accepted", "lab"),
        "event",
    )
    accepted = kit.signed_by_queue(one)
    yield denied("accepted-already", "What another queue, or this one, signed before is no new job.", accepted, "event|signature")
    early = unsigned(parts=event("accepted", "lab") + SCRIPT)
    yield denied("event-before-signature", "Nor can the submitter say what only stages may.", early + signature(early), "event")
    nasty = "$(touch ${CIT_HOME}/queues/lab/log/pwned)`touch ${CIT_HOME}/queues/lab/log/pwned`;-f/etc/passwd"
    mine = unsigned(submitter=f'"{nasty}"', key=f'"{nasty}"', queue=f'"{nasty}"')
    hostile = signature(mine, f"-f{nasty.replace(' ', '%20')}@", key="ada")
    yield denied("hostile-values", "What a job says reaches no shell and no option parser.", mine + hostile)


def misshapen() -> Iterator[Case]:
    """What parses and is no job: 65, kept with its bytes."""

    def wrong(name: str, about: str, document: bytes, *says: str) -> Case:
        return Case(name, about).refuses(document, 65, "no job as it must be", *says)

    one, second = job(), unsigned().split(b"\n", 1)[1]
    yield wrong("second-job", "A second job section, signed with the first.", job(parts=second), "job")
    yield wrong("second-job-after-signature", "A second job section after the signature.", one + second, "job|after the signature")
    yield wrong("script-after-signature", "A script that is not signed.", one + section("script 1 sh", "rm -rf .\n"), "script|after the signature")
    yield wrong(
        "secret-after-signature",
        "Any section of the submitter's is refused there.",
        one + section("secret 1 text name=A", "x\n"),
        "after the signature",
    )
    yield wrong(
        "job-not-first",
        "The first section decides what a document is.",
        job().replace(b"@begin job", section("note 1 text") + b"@begin job", 1),
        "first|note",
    )
    yield wrong("job-missing", "A document without sections.", job().split(b"@begin", 1)[0], "job|section")
    yield wrong("script-missing", "Nothing to run.", job(parts=b""), "script")
    yield wrong("script-doubled", "Two scripts.", job(parts=SCRIPT + SCRIPT), "script")
    yield wrong("script-and-call", "A script and a call.", job(parts=SCRIPT + section("call 1 toml", 'interface = "make"\n')), "call")
    yield wrong("job-incomplete", "A job without expires.", job(expires=None), "expires")
    yield wrong("job-later-version", "A job section of a version that nobody knows yet.", job(version=2), "version")
    yield wrong("script-later-version", "A script of a version that nobody knows yet.", job(parts=section("script 2 sh", "true\n")), "version")
    text = unsigned()
    later = text + signature(text).replace(b"signature 1", b"signature 2")
    yield wrong("signature-later-version", "A signature of a version that nobody knows yet.", later, "version")
    yield wrong("toml-key-twice", "A key of the job is given twice.", job(parts=SCRIPT, x='1\nsubmitter = "ben@sun"'), "twice|submitter")
    yield wrong("toml-malformed", "A line of the job is no cit TOML.", job(cpus="two"), "TOML|cpus")
    yield wrong("toml-table", "cit TOML has no tables.", job(x="1\n[job]\ny = 1"), "TOML|line")
    yield wrong("time-that-is-none", "The 30th of February.", job(expires="2026-02-30T00:00:00Z"), "time|expires|TOML")
    yield wrong("time-as-string", "expires is no time but a string.", job(expires='"2026-12-23T20:26:11Z"'), "time|expires")
    chain = ", ".join(f'"01m851ctnr8f0v3q6s9y2c4{number}g"' for number in range(10, 21))
    yield wrong("chain-too-long", "It comes out of eleven jobs, one inside the other; ten may be.", job(chain=f"[{chain}]"), "11 jobs|chain")
    yield wrong("chain-of-no-ids", "A chain is of IDs.", job(chain='["hello"]'), "chain|ID")
    follows = job(1, "next").replace(b"@cit ", b"@@cit ").replace(b"@begin ", b"@@begin ").replace(b"@end ", b"@@end ")
    yield wrong("after-another-end", "A section after says which end.", job(parts=SCRIPT + section("after 1 text on=maybe", follows)), "after")
    yield wrong(
        "after-no-job", "What is to follow is a stream of jobs.", job(parts=SCRIPT + section("after 1 text on=success", "hello\n")), "after|document"
    )
    bare = follows.split(b"@@begin signature")[0]
    yield wrong("after-unsigned", "What is to follow is signed.", job(parts=SCRIPT + section("after 1 text on=success", bare)), "after|signed")
    yield wrong("priority-too-high", "A priority that does not fit into KEY.", job(priority="1000"), "priority")
    yield wrong("priority-as-string", "A priority that is no number.", job(priority='"7"'), "priority")


def unreadable() -> Iterator[Case]:
    """What does not parse: 65, kept as a note of a new document; what comes after it goes on."""
    one, two = job(), job(1, "zlib")
    yield Case("cr-lf", "Lines that end with CR LF.").cannot_read(one.replace(b"\n", b"\r\n"), "a carriage return", "(?i)line 1: .*(CR|carriage)")
    yield Case("blank-on-control-line", "A blank at the end of a control line.").cannot_read(
        one.replace(b"script 1 sh\n", b"script 1 sh \n"), "malformed @begin line", "line [0-9]+: .*malformed"
    )
    yield Case("nul", "A NUL in a body.").cannot_read(one.replace(b"-j2", b"\0j2"), "a NUL byte", "NUL")
    yield Case("no-utf-8", "Bytes that are no UTF-8.").cannot_read(one.replace(b"-j2", b"\xff\xfe2"), "bytes that are no UTF-8", "UTF-8")
    torn = two[:-1]
    yield (
        Case("torn-tail", "The last newline is missing: was it cut off? The document before it is whole.")
        .accepts(one)
        .cannot_read(torn, "the last newline is missing", "newline")
    )
    yield (
        Case("torn-section", "The last section is not closed.")
        .accepts(one)
        .cannot_read(two[: two.index(b"@end signature")], "the last section is not closed", "closed")
    )
    yield (
        Case("garbage-before", "Text before the first document; the document goes on.")
        .cannot_read(b"Dear queue,\nplease run this:\n", "a line that begins no document", "line 1: ")
        .accepts(one)
    )
    yield (
        Case("faulty-first-of-three", "The first does not parse; the others go on.")
        .cannot_read(job().replace(b"@end script", b"@end scrip"), "section script is closed as scrip", "line [0-9]+: ")
        .accepts(two)
        .accepts(job(2, "lz4"))
    )
    later = b"@cit 2 01m851ctnr8f0v3q6s9y2c4e7q hello\n@section job\n"
    yield Case("file-of-version-2", "A document of a later version of the cit file.").cannot_read(later, "unknown version 2", "version")
    bad = b"@cit 1 01m851ctnr8f0v3q6s9y2c4e7! hello\n"
    yield Case("two-faulty", "Each is kept by itself.").cannot_read(bad, "malformed @cit line", "malformed").cannot_read(bad, "malformed", "line 2: ")
    yield (
        Case("worst-of-several", "77 is worse than 65; the one that is well goes on.")
        .cannot_read(bad, "malformed @cit line")
        .refuses(unsigned(), 77, "no signature", "no signature")
        .accepts(two)
    )


def unframed() -> Iterator[Case]:
    """Frames: all or nothing."""
    stream = job() + job(1)

    def nothing(name: str, about: str, sent: bytes, status: int, *says: str) -> Case:
        case = Case(name, about, status)
        case.says = ["error: ", *says]
        return case.sends(sent)

    whole = framed(stream, 2)
    yield nothing("frame-cut", "The last byte is missing: nothing is used.", whole[:-1], 65)
    yield nothing("frame-cut-between-documents", "The second document is missing: not even the first is used.", whole[: -len(job(1))], 65)
    yield nothing("frame-with-more", "A byte more than the frame says.", whole + b"\n", 65)
    yield nothing("frame-of-other-bytes", "A byte is another.", whole.replace(b"-j2", b"-j3", 1), 65)
    yield nothing("frame-of-other-count", "Another number of documents.", framed(stream, 3), 65)
    yield nothing("frame-malformed", "The frame itself is malformed.", whole.replace(b" 1 2 ", b" 1 02 ", 1), 65)
    yield nothing("frame-clocks-apart", "The sender's clock is 5 minutes and a second ahead.", framed(stream, 2, "2026-11-23T20:31:13Z"), 78, "clock")
