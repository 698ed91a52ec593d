/** Times (NTFS documentation, "FILETIME"): units of 100 ns since 1601, in 64 bits; none of it is lost here. */

/** Units of a second, and seconds from 1601 to 1970. */
const UNITS = 10_000_000;
const EPOCH = 11_644_473_600;

export class FileTime {
  /** Since 1970; and of that second. */
  seconds = 0;
  nanoseconds = 0;

  /** Takes the time at `at`; returns itself. */
  read(buffer: Buffer, at: number): this {
    // A long division, as the number is longer than a double's 53 bits.
    let rest = 0;
    let seconds = 0;
    for (let n = 6; n >= 0; n -= 2) {
      rest = rest * 65536 + buffer.readUInt16LE(at + n);
      const digit = Math.floor(rest / UNITS);
      rest -= digit * UNITS;
      seconds = seconds * 65536 + digit;
    }
    this.seconds = seconds - EPOCH;
    this.nanoseconds = rest * 100;
    return this;
  }
}
