/** JSON with texts from guests, for programs and for a terminal. */

/** What a terminal obeys, or turns the direction of writing, as `\uXXXX`: JSON leaves some of it as it is. */
export function jsonText(value: unknown): string {
  const text = JSON.stringify(value, undefined, 2).replace(
    /[\u007f-\u009f\p{Cf}\p{Zl}\p{Zp}]/gu,
    (character) =>
      character
        .split("")
        .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`)
        .join(""),
  );
  return `${text}\n`;
}
