# shellcheck shell=sh disable=SC2154 # variables that cit-queue sets
# put.sh: putting documents into spools once and for all (docs/directories.md), for cit-queue beside it.
#
#   waiting/.tmp/ID         the bytes, locked by their writer
#   seen/DAY/ID             a link KEY~SHA256: ln -s is test and set
#   STATE/KEY.ID-NAME.cit   the document
#
# Who finds .tmp/ID and its seen after a crash finishes with the KEY that seen says. Each step is on disk before the next one.
# Uses of cit-queue: die, read_document, judge, and the variables queue, scratch, now; what put and finish need of a document is in
# id, name, state, priority, begins, day, digest.

# --- files --------------------------------------------------------------------------------------------------------

durable() { # PATH...: an error of sync is final
  sync "$@" || die 74 "cannot sync $1" "nothing was acknowledged; look at the disk, then send it again"
}

directory() { # PATH: made where it is missing
  [ -d "$1" ] && return
  mkdir -p "$1" || die 74 "cannot make $1"
  durable "${1%/*}"
}

next_key() { # DIRECTORY PRIORITY [SEQUENCE]: key; the sequence is max(clock, last + 1) under a lock
  sequence=${3:-0}
  if [ "$sequence" = 0 ]; then
    true >>"$1/.sequence" || die 74 "cannot write $1/.sequence"
    exec 8>>"$1/.sequence"
    flock 8 || die 74 "cannot lock $1/.sequence"
    read -r last <"$1/.sequence" || [ -n "$last" ] || last=0
    last=${last#"${last%%[!0]*}"}
    sequence=$((${last:-0} + 1))
    [ "$now" -le "$sequence" ] || sequence=$now
    printf %016d "$sequence" 1<>"$1/.sequence" || die 74 "cannot write $1/.sequence"
    exec 8>&-
  fi
  key=$(printf '%04d-%016d' "$((1000 - $2))" "$sequence")
}

begins_with() { # FILE OTHER: whether its first bytes are those of the other
  head -c "$(($(wc -c <"$2")))" "$1" | cmp -s - "$2"
}

shelve() { # FILE DIRECTORY NAME: under this name, synced; the same bytes, or what they begin, are kept once
  directory "$2"
  directory "$2/.tmp"
  beside=$2/.tmp/$$~$now~${shelved:=0}
  shelved=$((shelved + 1))
  cat "$1" >"$beside" || die 74 "cannot write $beside"
  durable "$beside"
  if ! ln "$beside" "$2/$3" 2>/dev/null && ! begins_with "$2/$3" "$scratch/document"; then
    ln "$beside" "$2/$(printf '1000-%016d' "$now").$3" || die 74 "cannot write $2/$3"
  fi
  rm -f "$beside"
  durable "$2" "$2/.tmp"
}

# --- putting ------------------------------------------------------------------------------------------------------

lock() { # FILE [-n]: locked as descriptor 9, and still the file of that name
  while :; do
    true >>"$1" || die 74 "cannot write $1" # an exec that fails would end the shell
    exec 9>>"$1"
    # shellcheck disable=SC2086 # an option, or nothing
    flock ${2-} 9 || { [ -n "${2-}" ] && return 1; } || die 74 "cannot lock $1"
    [ "$(stat -Lc %i "$1" 2>/dev/null)" != "$(stat -Lc %i /proc/self/fd/9)" ] || return 0
  done
}

put() { # scratch/accepted into its state: became accepted, duplicate or replay, durably
  tmp=$queue/waiting/.tmp/$id
  directory "$queue/waiting/.tmp"
  directory "$queue/$state"
  directory "$queue/seen/$day"
  next_key "$queue/waiting" "$priority" "$begins"
  lock "$tmp"
  while [ -s "$tmp" ] && finished "$id"; do lock "$tmp"; done # what a dead writer left has got its name
  cat "$scratch/accepted" >"$tmp" || die 74 "cannot write $tmp" "nothing was changed; make room, then try again"
  durable "$tmp" "$queue/waiting/.tmp"
  became=accepted
  if ! ln -sn "$key~$digest" "$queue/seen/$day/$id" 2>/dev/null; then
    there=$(readlink "$queue/seen/$day/$id") || die 74 "cannot write $queue/seen/$day/$id"
    became=duplicate
    [ "${there#*~}" = "$digest" ] || became=replay
  fi
  durable "$queue/seen/$day"
  if [ "$became" = accepted ]; then
    name_it "$tmp" "$queue/$state/$key.$id-$name.cit"
  else
    rm -f "$tmp"
    durable "$queue/waiting/.tmp"
  fi
  exec 9>&-
}

name_it() { # TEMPORARY FINAL: never replaces; where the name is there, it holds these bytes, as seen says
  ln "$1" "$2" 2>/dev/null || [ -e "$2" ] || die 74 "cannot write $2"
  rm -f "$1"
  durable "${2%/*}" "${1%/*}"
}

finish() ( # ID: name what a dead writer left in .tmp, if seen knows these bytes. The caller has the lock.
  left=$queue/waiting/.tmp/$1
  read_document "$left" 1 || exit 1
  judge "$left" old || exit 1
  head=$(head -n 1 "$left")
  there=$(readlink "$queue/seen/$day/$1") || exit 1
  [ "${there#*~}" = "$digest" ] && [ "${head% *}" = "@cit 1 $1" ] || exit 1
  durable "$queue/seen/$day"
  name_it "$left" "$queue/$state/${there%%~*}.$1-${head##* }.cit"
)

finished() { # ID: whether it is; an error of input or output ends all
  finish "$1" && return
  [ "$?" != 74 ] || exit 74
  return 1
}

recover() { # all that dead writers left; what only .tmp has is garbage after 36 h
  for left in "$queue"/waiting/.tmp/*; do
    if [ ! -f "$left" ] || ! lock "$left" -n; then continue; fi
    if [ -s "$left" ]; then finished "${left##*/}" || :; fi
    [ -z "$(find "$left" -mmin +2160 2>/dev/null)" ] || rm -f "$left"
    exec 9>&-
  done
}
