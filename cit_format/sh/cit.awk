# cit.awk: finds the sections of a stream of cit files (docs/format/index.md), for mawk, gawk and busybox awk under LC_ALL=C.
#
# Reads lines in which `tr` has turned NUL into CR, with one CR after the last byte of the stream, by which a missing last
# newline shows:  { tr '\000' '\r' < STREAM; printf '\r'; } | LC_ALL=C awk -f cit.awk [-v bodies=DIR]
# Writes a TSV line a section: ID, number, SECTION, VERSION, FORMAT, attributes, bytes of the body, line of @begin, line of
# @end, number in the stream; with `bodies` also each body, unquoted but not decoded, as DIR/NUMBER.
# Exits 0, or 65 where a document was faulty: nothing is written of it, why it was so goes to stderr, the others go on.

BEGIN {
    MIB = 1048576
    UTF8 = "[\302-\337][\200-\277]|\340[\240-\277][\200-\277]|[\341-\354\356\357][\200-\277][\200-\277]|\355[\200-\237][\200-\277]" \
        "|\360[\220-\277][\200-\277][\200-\277]|[\361-\363][\200-\277][\200-\277][\200-\277]|\364[\200-\217][\200-\277][\200-\277]"
}

NR > 1 { line(held) }
{ held = $0 }

END {
    if (held != "\r") {
        line(substr(held, 1, length(held) - 1))
        fault("the last newline is missing", "was the file cut off?")
    }
    finish()
    exit (faults ? 65 : 0)
}

# One line of the stream.
function line(text, word) {
    at++
    word = control(text)
    if (word == "cit") finish()
    else if (state == "faulty") return
    else if (state == "") { fault("a line that begins no document", "a document begins with a line: @cit 1 ID NAME"); return }
    size = word == "cit" ? 0 : size
    size += length(text) + 1
    if (size > 64 * MIB) fault("a document over 64 MiB", "keep large data as files of their own")
    else if (word != "" && length(text) > MIB) fault("a control line over 1 MiB", "control lines are short; is this a cit file?")
    else if (text ~ /\r/) fault("a CR or a NUL", "lines end with a newline alone; what is no text goes into base64")
    else if (!is_utf8(text)) fault("bytes that are no UTF-8", "what is no text goes into base64")
    else if (word == "cit") head(text)
    else if (section == "" && word == "begin") begin(text)
    else if (section == "") fault("text between sections", "after @end comes @begin, @cit or the end")
    else if (word == "end") end(text)
    else if (word == "begin") fault("section " section " is not closed", "in a body, a control line begins with one more @")
    else body(text)
}

function control(text) {
    if (substr(text, 1, 1) != "@") return ""
    if (text ~ /^@cit( |$)/) return "cit"
    if (text ~ /^@begin( |$)/) return "begin"
    return text ~ /^@end( |$)/ ? "end" : ""
}

function is_utf8(text) {
    if (text !~ /[\200-\377]/) return 1
    gsub(UTF8, " ", text)
    return text !~ /[\200-\377]/
}

function head(text, word, words) {
    state = "open"
    words = split(text, word, "[ ]")
    if (words == 4 && word[2] ~ /^[1-9][0-9]*$/ && word[2] != "1")
        fault("unknown version " substr(word[2], 1, 20) " of the cit file", "this program reads version 1")
    else if (words != 4 || word[2] != "1" || !is_id(word[3]) || !is_name(word[4]))
        fault("malformed @cit line", "it reads: @cit 1 ID NAME")
    else { id = word[3]; label = substr(id, 21) "-" word[4] }
}

function is_id(text) { return length(text) == 26 && text ~ /^[0-7][0-9a-hjkmnp-tv-z]*$/ }

function is_name(text) { return length(text) <= 64 && text ~ /^[a-z0-9][a-z0-9._-]*$/ }

function begin(text, word, words, i) {
    words = split(text, word, "[ ]")
    if (++number > 10000) { fault("more than 10,000 sections", "put rows into one section"); return }
    if (words < 4 || word[2] !~ /^[a-z][a-z0-9-]*$/ || word[3] !~ /^[1-9][0-9]*$/ || word[4] !~ /^[a-z][a-z0-9.+-]*$/) {
        fault("malformed @begin line", "it reads: @begin SECTION VERSION FORMAT [key=value ...], single blanks")
        return
    }
    section = word[2]
    form = word[4]
    encoding = ""
    split("", given)
    for (i = 5; i <= words; i++) if (!attribute(word[i])) return
    if (form == "tar" && encoding == "") { fault("a tar that is not encoded", "write it with enc=base64"); return }
    written = words < 5 ? "-" : substr(text, length(word[1] word[2] word[3] word[4]) + 5)
    described = id "\t" number "\t" section "\t" word[3] "\t" form "\t" written
    opened = at
    raw = bytes = last = 0
    total++
    if (bodies != "") printf "" > (bodies "/" total)
}

function attribute(pair, key, value) {
    key = substr(pair, 1, index(pair, "=") - 1)
    value = substr(pair, length(key) + 2)
    if (key !~ /^[a-z][a-z0-9-]*$/) return fault("malformed attribute", "it reads key=value, the key of a-z 0-9 -")
    if (key in given) return fault("an attribute is given twice", "each key once a line")
    given[key] = 1
    if (key == "enc" && value != "base64" && value != "age") return fault("unknown encoding", "enc is base64 or age")
    if (key == "enc") encoding = value
    gsub(/%([01][0-9A-F]|20|25|7F)/, "", value)
    if (value ~ /[\001-\040%\177]/) return fault("malformed value", "a blank, a % and controls are written %20, %25, ...; nothing else is")
    return 1
}

function body(text) {
    raw += length(text) + 1
    if (raw > 16 * MIB) fault("a section over 16 MiB", "keep large data as a file and put its digest into the document")
    else if (form == "tsv" && length(text) > MIB) fault("a TSV line over 1 MiB", "put long values into a section of their own")
    else if (encoding == "base64" && !is_base64(text))
        fault("base64 that is not canonical", "lines of 76 characters, no blank line, padded, spare bits zero")
    if (state != "open") return
    if (text ~ /^@@+(cit|begin|end)( |$)/) text = substr(text, 2)
    if (encoding != "base64") bytes += length(text) + 1
    if (bodies != "") print text > (bodies "/" total)
}

# Whether this is the next line of canonical base64; a short or padded line is the last. Counts the bytes that it means.
function is_base64(text, long) {
    long = length(text)
    if (last || long == 0 || long > 76 || long % 4 || text !~ "^[A-Za-z0-9+/]*=?=?$") return 0
    if (text ~ /==$/ && text !~ /[AQgw]==$/) return 0
    if (text ~ /[^=]=$/ && text !~ /[AEIMQUYcgkosw048]=$/) return 0
    last = long < 76 || text ~ /=$/
    bytes += long / 4 * 3 - (text ~ /=$/) - (text ~ /==$/)
    return 1
}

function end(text) {
    if (text != "@end " section) { fault("section " section " is not closed by its own @end", "its last line reads: @end " section); return }
    row[number] = described "\t" bytes "\t" opened "\t" at "\t" total
    if (bodies != "") close(bodies "/" total)
    section = ""
}

# The present document is over: at the next one's first line, or at the end of the stream.
function finish(i) {
    if (state == "open" && section != "") fault("section " section " is not closed", "is it still being written, or was the file cut off?")
    if (state == "open") for (i = 1; i <= number; i++) print row[i]
    state = section = label = ""
    number = size = 0
}

# Returns 0, so that it can end a test.
function fault(what, hint) {
    if (state == "faulty") return 0
    print "cit-list: " (label == "" ? "" : label ": ") "line " at ": error: " what "\nhint: " hint | "cat 1>&2"
    if (section != "" && bodies != "") close(bodies "/" total)
    state = "faulty"
    faults++
    return 0
}
