/** Rows of cells under titles, aligned. */

/** A column: its title, its cell in a row, and to which side cells go (left). */
export type Column<Row> = readonly [string, (row: Row) => string, side?: "left" | "right"];

/** The lines of a table, each with its end. */
export function tableText<Row>(columns: readonly Column<Row>[], rows: readonly Row[]): string {
  const lines = [columns.map(([title]) => title), ...rows.map((row) => columns.map(([, cell]) => cell(row)))];
  const widths = columns.map((_, column) => Math.max(...lines.map((line) => (line[column] ?? "").length)));
  return lines
    .map(
      (line) =>
        `${line
          .map((cell, column) => {
            const width = widths[column] ?? 0;
            return columns[column]?.[2] === "right" ? cell.padStart(width) : cell.padEnd(width);
          })
          .join("  ")
          .trimEnd()}\n`,
    )
    .join("");
}
