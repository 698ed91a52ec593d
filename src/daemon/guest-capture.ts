/**
 * How it is known what a running guest writes: its QEMU mirrors each write (the default), or only has the disks readable,
 * and they are looked at.
 */
export type GuestCapture = "mirror" | "watch";

export const GUEST_CAPTURES = ["mirror", "watch"] as const satisfies readonly GuestCapture[];
