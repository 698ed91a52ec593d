/** A failure that the user can mend: one line that says what is wrong, where, and what to do. */
export class UserError extends Error {
  /** What the process is to exit with: 1, or 2 for wrong usage. */
  readonly exitCode: number;

  constructor(message: string, exitCode = 1) {
    super(message);
    this.name = "UserError";
    this.exitCode = exitCode;
  }
}
