/** `slashcloud volumes`: what is on a disk. */
import { resolveImage } from "../daemon/image-name.js";
import { openImageTree } from "../daemon/one-shot.js";
import { complain, write } from "./output.js";
import { type Column, tableText } from "./table.js";

interface Row {
  readonly name: string;
  readonly type: string;
  readonly label: string;
  readonly uuid: string;
  readonly size: number;
  readonly parent: string;
  /** Where the guest mounts it; "" if it does not, or it cannot be told. */
  readonly mount: string;
  readonly partitionType: string;
  readonly partitionUuid: string;
  readonly problem: string;
}

/** Prints the image's volumes, a line each. Returns the exit code. */
export function volumes(image: string, options: { readonly json?: boolean }): number {
  const { guests, mounts } = openImageTree("host", "guest", resolveImage(image), complain);
  const rows: Row[] = [];
  for (const { volumes: found } of guests.flatMap(({ disks }) => disks)) {
    for (const { volume, identity, problem } of found) {
      rows.push({
        name: volume.name,
        type: identity?.type ?? "unknown",
        label: identity?.label ?? "",
        uuid: identity?.uuid ?? "",
        size: volume.length,
        parent: volume.parent,
        mount: (mounts.get("guest")?.get(volume.name) ?? []).join(","),
        partitionType: volume.partitionType,
        partitionUuid: volume.partitionUuid,
        problem,
      });
    }
  }
  write(options.json ? `${JSON.stringify(rows, undefined, 2)}\n` : tableText(COLUMNS, rows));
  return 0;
}

const COLUMNS: readonly Column<Row>[] = [
  ["NAME", (row) => row.name],
  ["TYPE", (row) => row.type],
  ["SIZE", (row) => String(row.size)],
  ["PARENT", (row) => row.parent || "-"],
  ["MOUNT", (row) => row.mount || "-"],
  ["UUID", (row) => row.uuid || "-"],
  ["LABEL", (row) => row.label || "-"],
];
