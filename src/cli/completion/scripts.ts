/**
 * What the shells run to complete a command line. Each asks `slashcloud completion words -- WORD...` what the last word
 * may become, and gets a line for each candidate: it, a tab, and what it is. A candidate that more is to follow ends in
 * "/", ":" or "=". `:files` and `:directories` have the shell complete a path, after the text that the tab is followed by.
 */

const BASH = `# bash completion for slashcloud; needs the package bash-completion
_slashcloud() {
  local cur prev words cword line name started kind
  local replies=()
  _get_comp_words_by_ref -n =: cur prev words cword || return
  while IFS= read -r line; do
    case $line in
      :*)
        started=\${line#*$'\\t'}
        kind=-f
        [[ $line == :directories* ]] && kind=-d
        while IFS= read -r name; do
          if [[ -d \${name/#~\\//$HOME/} ]]; then name=$name/; fi
          [[ $name == "~/"* ]] && replies+=("$started~/$(printf %q "\${name:2}")") || replies+=("$started$(printf %q "$name")")
        done < <(compgen "$kind" -- "\${cur#"$started"}")
        ;;
      *) replies+=("\${line%%$'\\t'*}") ;;
    esac
  done < <(command slashcloud completion words -- "\${words[@]:1:cword-1}" "$cur" 2> /dev/null)
  # Readline replaces only what comes after the last of these.
  local breaks=
  [[ $COMP_WORDBREAKS == *=* ]] && breaks+='='
  [[ $COMP_WORDBREAKS == *:* ]] && breaks+=':'
  [[ $breaks == "" ]] && started= || started=\${cur%"\${cur##*[$breaks]}"}
  COMPREPLY=("\${replies[@]#"$started"}")
  [[ \${#replies[@]} -eq 1 && \${replies[0]} == *[/:=] ]] && compopt -o nospace
  return 0
} && complete -F _slashcloud slashcloud
`;

const ZSH = `#compdef slashcloud
_slashcloud() {
  local line started
  local -a texts shown open open_shown
  while IFS= read -r line; do
    case $line in
      (:*)
        started=\${line#*$'\\t'}
        compset -P "\${(b)started}"
        if [[ $line == :directories* ]]; then _files -/; else _files; fi
        ;;
      (*)
        if [[ \${line%%$'\\t'*} == *[/:=] ]]; then
          open+=("\${line%%$'\\t'*}") open_shown+=("\${line/$'\\t'/  -- }")
        else
          texts+=("\${line%%$'\\t'*}") shown+=("\${line/$'\\t'/  -- }")
        fi
        ;;
    esac
  done < <(command slashcloud completion words -- "\${(@Q)words[2,CURRENT-1]}" "\${(Q)PREFIX}" 2> /dev/null)
  (( \${#texts} )) && compadd -l -d shown -a texts
  (( \${#open} )) && compadd -l -S '' -d open_shown -a open
  return 0
}
if [ "$funcstack[1]" = "_slashcloud" ]; then _slashcloud "$@"; else compdef _slashcloud slashcloud; fi
`;

const FISH = `# fish completion for slashcloud
function __slashcloud_words
  set -l current (commandline -ct)
  set -l before (commandline -opc)
  for line in (command slashcloud completion words -- $before[2..-1] "$current" 2> /dev/null)
    switch $line
      case ':*'
        set -l started (string split -m 1 \\t -- $line)[2]
        set -l rest (string sub -s (math (string length -- "$started") + 1) -- "$current")
        # As for a command that nothing is known of: paths.
        set -l paths (complete -C "'' $rest")
        string match -q ':directories*' -- $line && set paths (string match -r '^[^\\t]*/(?:\\t.*)?$' -- $paths)
        printf '%s\\n' "$started"$paths
      case '*'
        printf '%s\\n' $line
    end
  end
end
complete -c slashcloud -f -a '(__slashcloud_words)'
`;

/** By the shell's name. */
export const SCRIPTS: Readonly<Record<string, string>> = { bash: BASH, zsh: ZSH, fish: FISH };
