# judge.awk: decides about one job (docs/stages/queue.md), for mawk, gawk and busybox awk under LC_ALL=C. Pure: no clock, no file.
#
# Reads the rows that cit.awk writes of the document, then the body of its job section, with -v of
#   now     microseconds since 1970; queue  NAME@FINGERPRINT; mode  new, or old: only its shape and place are looked at
# Writes one TSV line:  ok STATE PRIORITY SEQUENCE DAY SIGNED SUBMITTER   (SEQUENCE 0: the next one; DAY is in the ID; SIGNED the
# line of the first signature's @end), or  STATUS WHAT HINT. The signature itself is cit_verify's business (cit.sh).
# With -v settings="KEY KEY": reads a configuration file instead and writes the values of these keys, one a line.

BEGIN {
    FS = "\t"
    SUBMITTED = " job script call source bundle change env config files needs keep secret after reply grant published publishes "
    APPENDED = " event assignment answer environment artefact result signature "
    ALONE = " control builder load hosts ticket "
    MINUTE = 60000000
    DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
}

settings == "" && FNR == NR { row(); next }
{ toml($0) }

END {
    if (settings != "") { list(); exit }
    shape()
    if (verdict == "") place()
    if (verdict == "" && mode == "new") time_and_queue()
    if (verdict == "") verdict = "ok\t" state "\t" priority "\t" sequence "\t" day() "\t" signed "\t" value["submitter"]
    print verdict
}

function no(status, what, hint) {
    if (verdict == "") verdict = status "\t" what "\t" hint
}

# --- the rows of cit.awk: ID, number, SECTION, VERSION, ..., line of @begin, line of @end, number in the stream

function row() {
    rows = FNR
    id = $1
    kind[rows] = $3
    version[rows] = $4
    count[$3]++
    if ($3 == "signature" && !first) { first = rows; signed = $9 }
}

function shape(i) {
    if (kind[1] != "job") no(65, "the first section is " (rows ? kind[1] : "missing") ", not job", "a job begins with its job section")
    if (count["job"] > 1) no(65, "a second job section", "one document is one job")
    if (!first) no(77, "no signature", "sign it: cit-format sign FILE, or make it with cit-trigger")
    if (count["script"] + count["call"] != 1) no(65, count["script"] + 0 " scripts and " count["call"] + 0 " calls", "a job has one script or one call")
    for (i = first + 1; i <= rows; i++)
        if (index(SUBMITTED, " " kind[i] " ")) no(65, "section " kind[i] " after the signature", "what is not signed is not run; sign the job anew")
        else if (mode == "new" && index(APPENDED ALONE, " " kind[i] " "))
            no(77, "a new job has section " kind[i] " after its signature", "submit the job as its author signed it")
    for (i = 1; i < first; i++)
        if (index(APPENDED, " " kind[i] " ")) no(77, "section " kind[i] " before the submitter's signature", "only the stages after it may say that")
        else if (index(SUBMITTED, " " kind[i] " ") && version[i] != 1)
            no(65, "section " kind[i] " has version " version[i], "this program knows version 1")
    if (bad != "") no(65, bad, "one `key = value` a line: \"string\", 12, true, a UTC time, or [a, list]")
}

function place(n, needed, i) {
    n = split("submitter key queue created expires", needed, " ")
    for (i = 1; i <= n; i++) if (!(needed[i] in type)) no(65, "the job says no " needed[i], "a job needs submitter, key, queue, created and expires")
    for (i = 1; i <= 3; i++) if (type[needed[i]] != "string") no(65, needed[i] " is no string", "write it in quotes")
    for (; i <= n; i++) if (type[needed[i]] != "time") no(65, needed[i] " is no time", "write it as 2026-11-23T20:26:11Z")
    priority = ("priority" in type) ? value["priority"] + 0 : 0
    if (("priority" in type) && type["priority"] != "int" || priority < -999 || priority > 999) no(65, "priority", "an integer from -999 to 999")
    if (("begin" in type) && type["begin"] != "time") no(65, "begin is no time", "a UTC time, as 2026-11-23T20:26:11Z")
    if (("hold" in type) && type["hold"] != "bool") no(65, "hold", "true or false")
    sequence = value["hold"] == "true" ? "9999999999999999" : ("begin" in type) && value["begin"] > now ? sprintf("%.0f", value["begin"]) : 0
    state = sequence ? "held" : "waiting"
    if (sequence) priority = 0
}

function time_and_queue() {
    if (value["queue"] != queue) no(77, "the job is for another queue, this is " queue, "make it for this queue: cit-trigger --queue")
    if (now < value["created"] - 5 * MINUTE) no(77, "made in the future", "see that both clocks are right")
    if (now > value["expires"]) no(77, "expired", "make it anew: cit requeue")
    if (value["expires"] - value["created"] > 30 * 1440 * MINUTE) no(77, "valid for more than 30 days", "let it expire sooner: cit-trigger --expires 7d")
}

function day(n, i) {
    for (i = 1; i <= 10; i++) n = n * 32 + index(DIGITS, substr(id, i, 1)) - 1
    return civil(int(n / 86400000))
}

# --- cit TOML: one `key = value` a line

function toml(text, key, n) {
    if (bad != "" || text ~ /^[ \t]*(#.*)?$/) return
    bad = "line " FNR " of the job is no cit TOML"
    if (length(text) > 65536) { bad = "line " FNR " of the job is over 64 KiB"; return }
    if (!match(text, /^[ \t]*[A-Za-z0-9_-]+[ \t]*=[ \t]*/)) return
    key = substr(text, 1, RLENGTH)
    text = substr(text, RLENGTH + 1)
    gsub(/[ \t=]/, "", key)
    if (key in type) { bad = "key " key " is given twice"; return }
    n = substr(text, 1, 1) == "[" ? array(text) : scalar(text)
    if (!n || substr(text, n + 1) !~ /^[ \t]*(#.*)?$/) return
    type[key] = what
    value[key] = meaning
    bad = ""
}

# How many letters the value at the head of the text takes; 0 where there is none. Its type is in `what`, its meaning in `meaning`.
function scalar(text, n) {
    if (match(text, /^"([^"\\\001-\010\012-\037\177]|\\["\\bfnrt]|\\u[0-9a-fA-F][0-9a-fA-F][0-9a-fA-F][0-9a-fA-F])*"/)) {
        n = RLENGTH
        what = "string"
        meaning = plain(substr(text, 2, n - 2))
    } else if (match(text, /^[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9][Tt ][0-9][0-9]:[0-9][0-9]:[0-9][0-9][Zz]/)) {
        n = RLENGTH
        what = "time"
        meaning = moment(text)
        if (meaning < 0) return 0
    } else if (match(text, /^(true|false)/)) {
        n = RLENGTH
        what = "bool"
        meaning = substr(text, 1, n)
    } else if (match(text, /^[+-]?(0|[1-9][0-9]*(_[0-9]+)*)/)) {
        n = RLENGTH
        what = "int"
        meaning = substr(text, 1, n)
        gsub(/[_+]/, "", meaning)
        if (length(meaning) > 19) return 0
    }
    return n
}

function array(text, at, n, fresh) {
    at = 2
    for (fresh = 1; ; fresh = 0) {
        while (substr(text, at) ~ /^[ \t]/) at++
        if (substr(text, at, 1) == "," && !fresh) { at++; while (substr(text, at) ~ /^[ \t]/) at++; fresh = 1 }
        if (substr(text, at, 1) == "]") { what = "array"; meaning = ""; return at }
        n = fresh ? scalar(substr(text, at)) : 0
        if (!n) return 0
        at += n
    }
}

# A string without its escapes; \u stays as it is written.
function plain(text, i, c, found) {
    if (text !~ /\\/) return text
    for (i = 1; i <= length(text); i++) {
        c = substr(text, i, 1)
        if (c == "\\") {
            c = substr(text, ++i, 1)
            c = c == "t" ? "\t" : c == "n" ? "\n" : c == "r" ? "\r" : c == "b" ? "\b" : c == "f" ? "\f" : c == "u" ? "\\u" : c
        }
        found = found c
    }
    return found
}

# --- days since 1970 and back

function leap(y) { return y % 4 == 0 && (y % 100 || y % 400 == 0) }

function long(y, m) { return m == 2 ? 28 + leap(y) : m == 4 || m == 6 || m == 9 || m == 11 ? 30 : 31 }

function before(y) { y--; return y * 365 + int(y / 4) - int(y / 100) + int(y / 400) - 719162 }

# Microseconds of a time; -1 for a day or hour that there is not.
function moment(text, y, m, d, n, i) {
    y = substr(text, 1, 4) + 0; m = substr(text, 6, 2) + 0; d = substr(text, 9, 2) + 0
    if (m < 1 || m > 12 || d < 1 || d > long(y, m) || substr(text, 12, 2) > 23 || substr(text, 15, 2) > 59 || substr(text, 18, 2) > 59) return -1
    n = before(y) + d - 1
    for (i = 1; i < m; i++) n += long(y, i)
    return (((n * 24 + substr(text, 12, 2)) * 60 + substr(text, 15, 2)) * 60 + substr(text, 18, 2)) * 1000000
}

function civil(days, y, m) {
    for (y = 1970 + int(days / 366); before(y + 1) <= days; y++);
    days -= before(y)
    for (m = 1; days >= long(y, m); m++) days -= long(y, m)
    return sprintf("%04d-%02d-%02d", y, m, days + 1)
}

function list(n, keys, i) {
    if (bad != "") { print bad | "cat 1>&2"; exit 78 }
    n = split(settings, keys, " ")
    for (i = 1; i <= n; i++) print value[keys[i]]
}
