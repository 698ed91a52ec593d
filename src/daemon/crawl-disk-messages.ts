/** What passes between the thread that crawls a disk and its owner. */

/** What the thread is started with. */
export interface CrawlDiskData {
  readonly image: string;
  /** The program and its version, for the header. */
  readonly tool: string;
  /** Whether the documents are wanted. */
  readonly isWritten: boolean;
  /** One word: how many times the owner has taken documents. */
  readonly taken: SharedArrayBuffer;
}

/** What was found on a volume. */
export interface CrawledVolumeSummary {
  /** `sda1` */
  readonly volume: string;
  /** Of the file system; "" for one that is not known. */
  readonly type: string;
  readonly label: string;
  readonly uuid: string;
  readonly inodes: number;
  readonly names: number;
  readonly extents: number;
  /** Inodes, directories and groups that could not be read, or not wholly. */
  readonly bad: number;
  readonly seconds: number;
  /** Why there is nothing; "" if that is not so. */
  readonly problem: string;
}

export type CrawlDiskMessage =
  | { readonly kind: "log"; readonly line: string }
  | { readonly kind: "progress"; readonly volume: string; readonly inodes: number; readonly names: number }
  | { readonly kind: "documents"; readonly bytes: Uint8Array<ArrayBuffer> }
  | { readonly kind: "done"; readonly volumes: readonly CrawledVolumeSummary[] }
  | { readonly kind: "failed"; readonly message: string };
