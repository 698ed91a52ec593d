/** GETXATTR and LISTXATTR. */
import type { Tree } from "../../cloud/tree.js";
import { Errno } from "../errno.js";
import { ReplyHeader, Size, XattrIn } from "./protocol.js";
import type { Reply, Result } from "./reply.js";
import type { Request } from "./request.js";

/** The only attributes that a tree has begin so; asking for others (ACLs, labels, capabilities) needs no tree. */
const PREFIX = Buffer.from("user.");
const NAME_AT = Size.REQUEST_HEADER + XattrIn.NAME * 4;

/** XATTR_SIZE_MAX and XATTR_LIST_MAX of include/uapi/linux/limits.h, bytes: the kernel takes no more. */
const VALUE_MAX = 65536;

/** Answers with a value, or with its size if that is all that is asked for. */
function putValue(request: Request, reply: Reply, value: Buffer): Result {
  const room = request.word(XattrIn.SIZE);
  if (value.length > VALUE_MAX) return -Errno.E2BIG;
  if (room === 0) {
    reply.words[ReplyHeader.PAYLOAD] = value.length;
    reply.words[ReplyHeader.PAYLOAD + 1] = 0;
    return Size.XATTR;
  }
  return value.length > room ? -Errno.ERANGE : reply.putBytes(value);
}

/**
 * Answers GETXATTR. A name outside `user.` gets EOPNOTSUPP: after that, ls and others do not ask again for other
 * files of the same mount, as they would after ENODATA. ENOSYS would end all questions, but those of getfattr too.
 */
export function getAttribute(tree: Tree, request: Request, reply: Reply): Result {
  const { bytes } = request;
  if (bytes.compare(PREFIX, 0, PREFIX.length, NAME_AT, NAME_AT + PREFIX.length) !== 0) {
    return -Errno.EOPNOTSUPP;
  }
  const name = bytes.toString("latin1", NAME_AT, request.length - 1);
  const value = tree.attribute(request.high, request.low, name);
  return value === undefined ? -Errno.ENODATA : putValue(request, reply, value);
}

/** Answers LISTXATTR: each name with a NUL after it. */
export function listAttributes(tree: Tree, request: Request, reply: Reply): Result {
  let list = "";
  for (const name of tree.attributeNames(request.high, request.low)) list += `${name}\0`;
  return putValue(request, reply, Buffer.from(list, "latin1"));
}
