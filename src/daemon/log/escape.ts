/** Text from guests, made harmless where people read it. */

/** What a terminal would obey, or breaks a line, or changes the direction of what follows. */
const HARMFUL = /[\p{Cc}\p{Zl}\p{Zp}\u202a-\u202e\u2066-\u2069]/gu;

/** A line of text: what is not harmless in it as \xNN or \u{NNNN}. */
export function escapedLine(text: string): string {
  return text.replace(HARMFUL, (character) => {
    const code = (character.codePointAt(0) as number).toString(16);
    return code.length <= 2 ? `\\x${code.padStart(2, "0")}` : `\\u{${code}}`;
  });
}

/** The same of JSON, which means what it meant before. */
export function escapedJson(json: string): string {
  return json.replace(
    HARMFUL,
    (character) => `\\u${(character.codePointAt(0) as number).toString(16).padStart(4, "0")}`,
  );
}
