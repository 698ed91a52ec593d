/** What is told of a process of the daemon, by itself. */

export interface ProcessFigures {
  readonly pid: number;
  /** ISO 8601. */
  readonly since: string;
  /** Bytes of memory that the process has (resident set), all its threads included. */
  readonly rss: number;
  /** Bytes of objects of its main thread, and bytes that are there for them. */
  readonly heapUsed: number;
  readonly heapTotal: number;
  /** Bytes of buffers and typed arrays of its main thread. */
  readonly buffers: number;
  /** Seconds of processor time. */
  readonly cpu: number;
}

/** Of this process. */
export function ownFigures(): ProcessFigures {
  const { rss, heapUsed, heapTotal, arrayBuffers } = process.memoryUsage();
  const { user, system } = process.cpuUsage();
  return {
    pid: process.pid,
    since: new Date(performance.timeOrigin).toISOString(),
    rss,
    heapUsed,
    heapTotal,
    buffers: arrayBuffers,
    cpu: (user + system) / 1e6,
  };
}
