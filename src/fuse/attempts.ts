/** Answering again where a guest has moved on while the answer was made. */

/** How often one request is answered at most. */
export const ATTEMPTS = 16;

/** A guest moved on each time, or its disk can no longer be read: a fault for the log, and EIO for the one who asked. */
export class RestlessError extends Error {
  constructor() {
    super(`the guest wrote too fast to be read, or its disk cannot be: ${ATTEMPTS} answers did not hold`);
    this.name = "RestlessError";
  }
}
