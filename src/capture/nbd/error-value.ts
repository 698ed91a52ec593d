import { NbdError } from "../../images/nbd/protocol.js";

/** The error value for a failure of the host's. */
export function errorValue(error: unknown): number {
  switch ((error as NodeJS.ErrnoException).code) {
    case "EPERM":
    case "EACCES":
    case "EROFS":
      return NbdError.EPERM;
    case "ENOSPC":
    case "EDQUOT":
    case "EFBIG":
      return NbdError.ENOSPC;
    case "EINVAL":
      return NbdError.EINVAL;
    default:
      return NbdError.EIO;
  }
}
