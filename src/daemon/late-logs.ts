/** Logs of events that are opened later than the tree in which they are shown. */
import type { EventLog, EventLogs } from "../cloud/event-files.js";
import { LogReaders, type SharedLogs } from "../events/log-reader.js";

const NONE: EventLog = { segment: () => 0, size: () => 0, mtime: () => 0, read: () => 0 };

export class LateLogs implements EventLogs {
  #readers: LogReaders | undefined;

  open(logs: SharedLogs): void {
    this.#readers = new LogReaders(logs);
  }

  get all(): EventLog {
    return this.#readers?.all ?? NONE;
  }

  guest(name: string): EventLog | undefined {
    return this.#readers?.guest(name);
  }
}
