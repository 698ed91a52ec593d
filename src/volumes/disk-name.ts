/** The name of a guest's disk by its place among the guest's disks, from 0: sda to sdz, sdaa, ... as the kernel names SCSI disks. */
export function diskName(index: number): string {
  let letters = "";
  for (let rest = index; rest >= 0; rest = Math.floor(rest / 26) - 1) {
    letters = String.fromCharCode(0x61 + (rest % 26)) + letters;
  }
  return `sd${letters}`;
}
