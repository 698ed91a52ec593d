/** A failure that is an answer to the user: `errno` is a positive Linux errno. */
export class IoError extends Error {
  readonly errno: number;

  constructor(errno: number, message: string) {
    super(message);
    this.name = "IoError";
    this.errno = errno;
  }
}

/** Linux's EIO: the bytes cannot be had, or make no sense. */
export const EIO = 5;
