/** The handshake: fixed newstyle negotiation, until an export is chosen. */
import type { Socket } from "node:net";
import {
  ClientFlag,
  ExportFlag,
  GREETING,
  Info,
  LARGEST_PAYLOAD,
  LONGEST_STRING,
  OPTION_MAGIC_HIGH,
  OPTION_MAGIC_LOW,
  OPTION_REPLY_MAGIC_HIGH,
  OPTION_REPLY_MAGIC_LOW,
  Option,
  OptionReply,
  PREFERRED_BLOCK,
} from "../../images/nbd/protocol.js";
import type { Export } from "./export.js";
import type { Input } from "./input.js";

/** Bytes that an option may have: room for a name and a few queries. */
const LARGEST_OPTION = 32 << 10;
/** Options that a client may send. */
const MOST_OPTIONS = 256;
const CONTEXT = "base:allocation";
/** The number under which BLOCK_STATUS answers for it. */
export const CONTEXT_ID = 1;

/** What was agreed. */
export interface Session {
  readonly chosen: Export;
  readonly isStructured: boolean;
  /** BLOCK_STATUS may be asked. */
  readonly hasAllocation: boolean;
}

/** Where the server's exports are found. */
export interface Catalogue {
  /** By name; the empty name is the only one's, if there is only one. */
  find(name: string): Export | undefined;
  all(): Iterable<Export>;
}

/** Transmission flags. */
export function exportFlags({ store }: Export, isStructured: boolean): number {
  const { isReadOnly, isShared } = store;
  return (
    ExportFlag.HAS_FLAGS |
    ExportFlag.SEND_FLUSH |
    ExportFlag.SEND_FUA |
    ExportFlag.SEND_CACHE |
    (isReadOnly
      ? ExportFlag.READ_ONLY
      : ExportFlag.SEND_TRIM | ExportFlag.SEND_WRITE_ZEROES | ExportFlag.SEND_FAST_ZERO) |
    (isShared ? ExportFlag.CAN_MULTI_CONN : 0) |
    (isStructured ? ExportFlag.SEND_DF : 0)
  );
}

/** Haggles with a client. Returns undefined if it went away, or is to be sent away. */
export function negotiate(socket: Socket, input: Input, catalogue: Catalogue): Promise<Session | undefined> {
  return new Negotiation(socket, input, catalogue).run();
}

class Negotiation {
  readonly #socket: Socket;
  readonly #input: Input;
  readonly #catalogue: Catalogue;
  #isStructured = false;
  /** The export for which `base:allocation` was chosen. */
  #allocationOf: Export | undefined;

  constructor(socket: Socket, input: Input, catalogue: Catalogue) {
    this.#socket = socket;
    this.#input = input;
    this.#catalogue = catalogue;
  }

  async run(): Promise<Session | undefined> {
    this.#socket.write(GREETING);
    const head = Buffer.alloc(16);
    if (!(await this.#input.fill(head, 0, 4))) return undefined;
    const flags = head.readUInt32BE(0);
    if ((flags & ~(ClientFlag.FIXED_NEWSTYLE | ClientFlag.NO_ZEROES)) !== 0) return undefined;
    for (let count = 0; count < MOST_OPTIONS; count++) {
      if (!(await this.#input.fill(head, 0, 16))) return undefined;
      if (head.readUInt32BE(0) !== OPTION_MAGIC_HIGH || head.readUInt32BE(4) !== OPTION_MAGIC_LOW)
        return undefined;
      const option = head.readUInt32BE(8);
      const length = head.readUInt32BE(12);
      if ((flags & ClientFlag.FIXED_NEWSTYLE) === 0 && option !== Option.EXPORT_NAME) return undefined;
      if (length > LARGEST_OPTION) return undefined;
      const data = Buffer.alloc(length);
      if (!(await this.#input.fill(data, 0, length))) return undefined;
      if (option === Option.EXPORT_NAME) return this.#exportName(data, (flags & ClientFlag.NO_ZEROES) === 0);
      if (option === Option.ABORT) {
        this.#reply(option, OptionReply.ACK);
        return undefined;
      }
      const session = this.#option(option, data);
      if (session !== undefined) return session;
    }
    return undefined;
  }

  #option(option: number, data: Buffer): Session | undefined {
    switch (option) {
      case Option.LIST:
        this.#list(data);
        return undefined;
      case Option.INFO:
      case Option.GO:
        return this.#info(option, data);
      case Option.STRUCTURED_REPLY:
        if (data.length > 0) this.#refuse(option, OptionReply.ERR_INVALID, "the option has no data");
        else {
          this.#isStructured = true;
          this.#reply(option, OptionReply.ACK);
        }
        return undefined;
      case Option.LIST_META_CONTEXT:
      case Option.SET_META_CONTEXT:
        this.#contexts(option, data);
        return undefined;
      case Option.STARTTLS:
        this.#refuse(option, OptionReply.ERR_POLICY, "this server has no TLS; connect without");
        return undefined;
      default:
        this.#refuse(option, OptionReply.ERR_UNSUP, "the option is not known here");
        return undefined;
    }
  }

  #exportName(data: Buffer, withZeros: boolean): Session | undefined {
    const chosen = this.#catalogue.find(data.toString("utf8"));
    if (chosen === undefined) return undefined;
    const answer = Buffer.alloc(withZeros ? 134 : 10);
    writeSize(answer, chosen.store.size, 0);
    answer.writeUInt16BE(exportFlags(chosen, this.#isStructured), 8);
    this.#socket.write(answer);
    return this.#session(chosen);
  }

  #session(chosen: Export): Session {
    return { chosen, isStructured: this.#isStructured, hasAllocation: this.#allocationOf === chosen };
  }

  #list(data: Buffer): void {
    if (data.length > 0) {
      this.#refuse(Option.LIST, OptionReply.ERR_INVALID, "the option has no data");
      return;
    }
    for (const { name, description } of this.#catalogue.all()) {
      const bytes = Buffer.from(name);
      const length = Buffer.alloc(4);
      length.writeUInt32BE(bytes.length);
      this.#reply(Option.LIST, OptionReply.SERVER, Buffer.concat([length, bytes, Buffer.from(description)]));
    }
    this.#reply(Option.LIST, OptionReply.ACK);
  }

  #info(option: number, data: Buffer): Session | undefined {
    const name = stringAt(data, 0);
    const at = 4 + (name?.length ?? 0);
    const count = name !== undefined && at + 2 <= data.length ? data.readUInt16BE(at) : -1;
    if (name === undefined || data.length !== at + 2 + 2 * count) {
      this.#refuse(option, OptionReply.ERR_INVALID, "the option's lengths do not fit");
      return undefined;
    }
    const chosen = this.#catalogue.find(name.toString("utf8"));
    if (chosen === undefined) {
      this.#refuse(option, OptionReply.ERR_UNKNOWN, "there is no such export; list them");
      return undefined;
    }
    const wanted = new Set<number>();
    for (let i = 0; i < count; i++) wanted.add(data.readUInt16BE(at + 2 + 2 * i));
    const about = Buffer.alloc(12);
    about.writeUInt16BE(Info.EXPORT, 0);
    writeSize(about, chosen.store.size, 2);
    about.writeUInt16BE(exportFlags(chosen, this.#isStructured), 10);
    this.#reply(option, OptionReply.INFO, about);
    if (wanted.has(Info.NAME)) this.#reply(option, OptionReply.INFO, information(Info.NAME, chosen.name));
    if (wanted.has(Info.DESCRIPTION))
      this.#reply(option, OptionReply.INFO, information(Info.DESCRIPTION, chosen.description));
    if (wanted.has(Info.BLOCK_SIZE)) {
      const sizes = Buffer.alloc(14);
      sizes.writeUInt16BE(Info.BLOCK_SIZE, 0);
      sizes.writeUInt32BE(1, 2);
      sizes.writeUInt32BE(PREFERRED_BLOCK, 6);
      sizes.writeUInt32BE(LARGEST_PAYLOAD, 10);
      this.#reply(option, OptionReply.INFO, sizes);
    }
    this.#reply(option, OptionReply.ACK);
    return option === Option.GO ? this.#session(chosen) : undefined;
  }

  #contexts(option: number, data: Buffer): void {
    const isSetting = option === Option.SET_META_CONTEXT;
    if (isSetting) this.#allocationOf = undefined;
    const query = parseContexts(data);
    const chosen = query && this.#catalogue.find(query.name);
    if (!this.#isStructured) {
      this.#refuse(option, OptionReply.ERR_INVALID, "ask for structured replies first");
      return;
    }
    if (query === undefined) {
      this.#refuse(option, OptionReply.ERR_INVALID, "the option's lengths do not fit");
      return;
    }
    if (chosen === undefined) {
      this.#refuse(option, OptionReply.ERR_UNKNOWN, "there is no such export; list them");
      return;
    }
    const matches = isSetting
      ? query.contexts.includes(CONTEXT)
      : query.contexts.length === 0 || query.contexts.some((text) => text === CONTEXT || text === "base:");
    if (matches) {
      const id = Buffer.alloc(4);
      id.writeUInt32BE(isSetting ? CONTEXT_ID : 0);
      this.#reply(option, OptionReply.META_CONTEXT, Buffer.concat([id, Buffer.from(CONTEXT)]));
      if (isSetting) this.#allocationOf = chosen;
    }
    this.#reply(option, OptionReply.ACK);
  }

  #refuse(option: number, type: number, why: string): void {
    this.#reply(option, type, Buffer.from(why));
  }

  #reply(option: number, type: number, data: Uint8Array = Buffer.alloc(0)): void {
    const head = Buffer.alloc(20);
    head.writeUInt32BE(OPTION_REPLY_MAGIC_HIGH, 0);
    head.writeUInt32BE(OPTION_REPLY_MAGIC_LOW, 4);
    head.writeUInt32BE(option, 8);
    head.writeUInt32BE(type, 12);
    head.writeUInt32BE(data.length, 16);
    this.#socket.write(Buffer.concat([head, data]));
  }
}

/** A string with its length before it; undefined if there is none. */
function stringAt(data: Buffer, at: number): Buffer | undefined {
  if (at + 4 > data.length) return undefined;
  const length = data.readUInt32BE(at);
  return length <= LONGEST_STRING && at + 4 + length <= data.length
    ? data.subarray(at + 4, at + 4 + length)
    : undefined;
}

function parseContexts(data: Buffer): { name: string; contexts: string[] } | undefined {
  const name = stringAt(data, 0);
  if (name === undefined || 8 + name.length > data.length) return undefined;
  const count = data.readUInt32BE(4 + name.length);
  const contexts: string[] = [];
  let at = 8 + name.length;
  for (let i = 0; i < count; i++) {
    const query = stringAt(data, at);
    if (query === undefined) return undefined;
    contexts.push(query.toString("utf8"));
    at += 4 + query.length;
  }
  return at === data.length ? { name: name.toString("utf8"), contexts } : undefined;
}

function information(type: number, text: string): Buffer {
  const head = Buffer.alloc(2);
  head.writeUInt16BE(type);
  return Buffer.concat([head, Buffer.from(text)]);
}

function writeSize(target: Buffer, size: number, at: number): void {
  target.writeUInt32BE(Math.floor(size / 2 ** 32), at);
  target.writeUInt32BE(size % 2 ** 32, at + 4);
}
