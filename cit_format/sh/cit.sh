# shellcheck shell=sh
# cit.sh: functions for stages in shell, to be sourced: `. cit.sh`. POSIX sh, awk, sed, base64, ssh-keygen.
# FILE holds one document. `cit-list < FILE` says whether it is well formed (65 where not); these functions take that as given.
# What is signed decides: sections and attributes come from the bytes before the first signature (docs/format/signatures.md).
# Statuses: 0; 65 no single complete document; 66 no such section or attribute; 77 not verified; 78 a forbidden allowed_signers.

# Bytes before the first signature: what it signs.
cit_signed() { # FILE
  LC_ALL=C sed '/^@begin signature /,$d' "$1"
}

# Body of the first SECTION of what is signed: unquoted, base64 decoded.
cit_section() ( # FILE SECTION
  cit_has "$1" "$2" || return
  encoding=$(cit_attr "$1" "$2" enc) || encoding=
  cit_signed "$1" | LC_ALL=C awk -v begin="@begin $2 " -v end="@end $2" '
    $0 == end && inside { exit }
    inside { print }
    index($0, begin) == 1 { inside = 1 }' | if [ "$encoding" = base64 ]; then base64 -d; else cit_unquote; fi
)

# Whether SECTION is in what is signed, else 66.
cit_has() { # FILE SECTION
  cit_signed "$1" | LC_ALL=C grep -q "^@begin $2 " || return 66
}

# An attribute of the first SECTION of what is signed, %XX decoded, without newline; 66 where it is not there.
cit_attr() { # FILE SECTION KEY
  cit_signed "$1" | LC_ALL=C grep "^@begin $2 " | head -n 1 | cit_line_attr "$3"
}

# The same, of the @begin line on stdin.
cit_line_attr() { # KEY
  LC_ALL=C awk -F '[ ]' -v key="$1=" '
    { for (i = 5; i <= NF; i++) if (index($i, key) == 1) { found = 1; text = substr($i, length(key) + 1) } }
    END {
      if (!found) exit 66
      hex = "0123456789ABCDEF"
      while ((at = index(text, "%")) > 0) {
        code = (index(hex, substr(text, at + 1, 1)) - 1) * 16 + index(hex, substr(text, at + 2, 1)) - 1
        printf "%s%c", substr(text, 1, at - 1), code
        text = substr(text, at + 3)
      }
      printf "%s", text
    }'
}

# A value of the first SECTION of what is signed, which is flat TOML: a string without its quotes (\u escapes stay), else as
# written; 66 where it is not there, 65 where it is there twice.
cit_value() ( # FILE SECTION KEY
  cit_has "$1" "$2" || return
  cit_section "$1" "$2" | LC_ALL=C awk -v key="$3" '
    { at = index($0, "="); name = substr($0, 1, at - 1); gsub(/[ \t]/, "", name) }
    at && name == key { found++; text = substr($0, at + 1) }
    END {
      if (found != 1) exit found ? 65 : 66
      sub(/^[ \t]+/, "", text)
      if (text ~ /^"/) {
        for (i = 2; (c = substr(text, i, 1)) != "\"" && c != ""; i++) {
          if (c == "\\") { c = substr(text, ++i, 1); c = c == "t" ? "\t" : c == "n" ? "\n" : c == "u" || c == "U" ? "\\" c : c }
          plain = plain c
        }
        print plain
      } else if (text ~ /^\[/) { sub(/\][^]]*$/, "]", text); print text }
      else { sub(/[ \t]*(#.*)?$/, "", text); print text }
    }'
)

# stdin as it stands in a file, and back: a line that looks like a control line has one more @.
cit_quote() {
  LC_ALL=C sed -E 's/^@+(cit|begin|end)( |$)/@&/'
}

cit_unquote() {
  LC_ALL=C sed -E 's/^@(@+(cit|begin|end)( |$))/\1/'
}

# Verify the first signature as IDENTITY's in NAMESPACE; prints the key's fingerprint. REVOKED: a file of keys, if there is one.
cit_verify() ( # FILE ALLOWED_SIGNERS IDENTITY NAMESPACE [REVOKED]
  export LC_ALL=C
  [ "$(grep -c '^@cit ' "$1")" = 1 ] && [ -z "$(tail -c 1 "$1")" ] || cit_no 65 "no single complete document" || return
  [ "$(grep -c '^@begin job ' "$1")" -le 1 ] || cit_no 65 "a second job" || return
  wish='job|script|call|source|bundle|change|env|config|files|needs|keep|secret|after|reply|grant|published|publishes'
  ! sed -n '/^@begin signature /,$p' "$1" | grep -Eq "^@begin ($wish) " || cit_no 65 "a section of the submitter's after the signature" || return
  line=$(awk '!/^[ \t]*(#|$)/ && ($0 !~ /^[^ \t]+[ \t]+([^ \t]*,)?namespaces=/ || $1 ~ /[*?!]/) { print NR; exit }' "$2") || return 78
  [ -z "$line" ] || cit_no 78 "$2: line $line has no namespaces= or a wildcard" || return
  ! cit_signed "$1" | grep '^@begin job ' | grep -vq '^@begin job 1 toml' || cit_no 65 "a job of an unknown version" || return
  begin=$(grep '^@begin signature ' "$1" | head -n 1)
  [ -n "$begin" ] || cit_no 77 "no signature" || return
  [ "${begin#@begin signature 1 sshsig }" != "$begin" ] || cit_no 65 "a signature of an unknown version" || return
  [ "$(printf '%s\n' "$begin" | cit_line_attr by)" = "$3" ] && [ "$(printf '%s\n' "$begin" | cit_line_attr ns)" = "$4" ] || cit_no 77 "not signed by $3 as $4" || return
  work=$(mktemp -d "${TMPDIR:-/tmp}/cit-verify.XXXXXX") || return 74
  trap 'rm -rf "$work"' EXIT
  awk '/^@end signature$/ && inside { exit } inside { print } /^@begin signature / { inside = 1 }' "$1" >"$work/sig"
  # ssh-keygen reads on happily after the armour.
  awk 'NR == 1 { ok = $0 == "-----BEGIN SSH SIGNATURE-----"; next } ended || !ok { ok = 0; exit }
    $0 == "-----END SSH SIGNATURE-----" { ended = 1; next } !/^[A-Za-z0-9+\/]+=*$/ { ok = 0; exit } END { exit !(ok && ended) }' "$work/sig" ||
    cit_no 77 "the armour of the signature is malformed" || return
  set -- "$1" "$2" "$3" "$4" ${5:+-r "$5"} ${CIT_NOW:+"-Overify-time=$(printf %s "${CIT_NOW%%.*}Z" | tr -cd 0-9Z | sed 's/ZZ*$/Z/')"}
  file=$1 allowed=$2 identity=$3 namespace=$4
  shift 4
  said=$(cit_signed "$file" | ssh-keygen -Y verify -f "$allowed" -I "$identity" -n "$namespace" -s "$work/sig" "$@" 2>&1) ||
    cit_no 77 "the signature does not verify: $(printf %s "$said" | tail -n 1 | tr -cd ' -~')" || return
  key=${said##* } kind=${said% key *} kind=${kind##* }
  case $kind in
  RSA)
    bits=$(sed -n 's/.*\(ssh-rsa AAAA[A-Za-z0-9+/=]*\).*/\1/p' "$allowed" | ssh-keygen -lf - | awk -v key="$key" '$2 == key { print $1; exit }')
    [ "${bits:-0}" -ge 2048 ] || cit_no 77 "an RSA key of fewer than 2048 bits" || return
    ;;
  *-SK) # the flags are the fifth byte from the end; the first of them is that a person was there
    flags=$(sed '1d;$d' "$work/sig" | base64 -d | tail -c 5 | od -An -tu1 | awk '{ print $1; exit }')
    [ "$((flags % 2))" = 1 ] || cit_no 77 "nobody touched the security key" || return
    ;;
  esac
  if cit_has "$file" job; then
    [ "$(cit_value "$file" job key)" = "$key" ] || cit_no 77 "the job names another key than the one that signed it" || return
    [ "$(cit_value "$file" job submitter)" = "$identity" ] || cit_no 77 "the job names another submitter than $identity" || return
  fi
  printf '%s\n' "$key"
)

# Say why and return the status.
cit_no() { # STATUS WHY
  printf 'cit.sh: error: %s\n' "$2" >&2
  return "$1"
}
