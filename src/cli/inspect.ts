/** `slashcloud inspect`: what guests are. */
import { subjectsOf } from "../daemon/inspecting/guest-subject.js";
import { type InspectedGuest, inspectImages, inspectServed } from "../daemon/inspecting/inspect-guest.js";
import { inspectedJson, inspectedText } from "./inspect-text.js";
import { jsonText } from "./json-text.js";
import { complain, write } from "./output.js";

export interface InspectOptions {
  readonly mount: string;
  readonly state?: string;
  readonly packages?: boolean;
  readonly json?: boolean;
}

/** Prints a block for each guest. Returns the exit code: 1 if one could not be opened. Throws UserError, ImageError. */
export async function inspect(given: readonly string[], options: InspectOptions): Promise<number> {
  const { images, served } = await subjectsOf(given, options);
  const withPackages = options.packages ?? false;
  const all: object[] = [];
  let printed = 0;
  let failed = false;
  const take = async (look: () => Promise<InspectedGuest>): Promise<void> => {
    try {
      const guest = await look();
      if (options.json) all.push(inspectedJson(guest, withPackages));
      else write(`${printed++ === 0 ? "" : "\n"}${inspectedText(guest, withPackages)}`);
    } catch (error) {
      failed = true;
      complain((error as Error).message);
    }
  };
  for (const spec of images) await take(() => inspectImages(spec));
  for (const guest of served?.guests ?? [])
    if (served !== undefined) await take(() => inspectServed(served, guest));
  if (options.json) write(jsonText(all));
  return failed ? 1 : 0;
}
