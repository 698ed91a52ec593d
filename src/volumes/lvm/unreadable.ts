/** Why a logical volume cannot be read: a part of a line, "its ...". */
export class Unreadable extends Error {}
