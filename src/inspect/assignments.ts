/** Files of assignments as a shell reads them: os-release(5), lsb-release, sysconfig. */

const LINE = /^[ \t]*([A-Za-z_][A-Za-z0-9_]*)=(.*)$/;
const MOST_LINES = 10_000;

/** Names and values; of several with one name the last, as in a shell. What is no assignment is passed over. */
export function assignments(text: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const line of text.split("\n", MOST_LINES)) {
    const [, name, value] = LINE.exec(line.replace(/\r$/, "")) ?? [];
    if (name !== undefined && value !== undefined) found.set(name, unquoted(value.trim()));
  }
  return found;
}

function unquoted(value: string): string {
  const quote = value[0];
  if (quote !== '"' && quote !== "'") return value.replace(/\s+#.*$/, "").replace(/\\(.)/g, "$1");
  const end = quote === "'" ? value.indexOf("'", 1) : endOfDoubleQuotes(value);
  const inside = value.slice(1, end < 0 ? undefined : end);
  return quote === "'" ? inside : inside.replace(/\\([$"\\`])/g, "$1");
}

function endOfDoubleQuotes(value: string): number {
  for (let at = 1; at < value.length; at++) {
    if (value[at] === "\\") at++;
    else if (value[at] === '"') return at;
  }
  return -1;
}
