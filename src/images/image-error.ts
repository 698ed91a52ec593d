/** An image that cannot be used, told in one line that begins with its path. */
export class ImageError extends Error {
  /** What the user named. */
  readonly path: string;
  /** The process's exit status if this ends it. */
  readonly exitCode = 1;

  constructor(path: string, problem: string) {
    super(`${path}: ${problem}`);
    this.name = "ImageError";
    this.path = path;
  }
}

/** One whose server has not answered in time: it may later. */
export class NoAnswerError extends ImageError {}
