/**
 * Keeps a connection to an NBD server, makes another one when it is lost, and answers the reads of a mailbox: each within
 * its deadline, with an error if it must be. In a thread of its own, as whoever asks waits for the answer.
 */
import { Connection } from "./connection.js";
import type { Agreement } from "./handshake.js";
import { DEADLINE, LATE, type Mailbox, Result, State } from "./mailbox.js";
import type { NbdAddress } from "./url.js";

/** ms until the next try to connect: after the first failure and at most; each time twice as long. */
const RETRY = 20;
const LONGEST_RETRY = 1000;
/** Bytes that a server is asked for to see whether it answers. */
const PROBE = 512;

export class Link {
  readonly #mailbox: Mailbox;
  readonly #address: NbdAddress;
  #connection: Connection | undefined;
  /** Undefined: there is no connection that can be read from. */
  #agreement: Agreement | undefined;
  #retry = RETRY;
  #reconnecting: NodeJS.Timeout | undefined;
  /** The read that waits for an answer, and whether there is one. */
  #number = 0;
  #isAsked = false;
  /** Whole blocks around what is asked for: where they begin and end. */
  #from = 0;
  #end = 0;
  #isProbing = false;
  /** Objects that are set anew for each read and each connection. */
  readonly #readTimer: NodeJS.Timeout;
  readonly #connectionTimer: NodeJS.Timeout;

  constructor(mailbox: Mailbox, address: NbdAddress) {
    this.#mailbox = mailbox;
    this.#address = address;
    this.#readTimer = setTimeout(() => this.#readIsLate(), DEADLINE);
    this.#connectionTimer = setTimeout(() => this.#connectionIsLate(), DEADLINE);
    this.#connect();
    mailbox.listen((number) => this.#take(number));
  }

  /** Ends by a fault of its own: what is asked, now and later, is not answered. */
  fail(why: string): void {
    this.#connection?.close();
    this.#connection = undefined;
    this.#agreement = undefined;
    clearTimeout(this.#reconnecting);
    const mailbox = this.#mailbox;
    const wasOpening = mailbox.state === State.OPENING;
    if (mailbox.state === State.ANSWERING) mailbox.addOutage();
    mailbox.text = why;
    mailbox.setState(wasOpening ? State.FAILED : State.SILENT);
    this.#answer(Result.UNANSWERED);
  }

  #connect(): void {
    this.#connectionTimer.refresh();
    this.#connection = new Connection(this.#address, this.#mailbox.window, {
      agreed: (agreement) => this.#agreed(agreement),
      answered: (error) => this.#answered(error),
      ended: (why) => this.#ended(why),
    });
  }

  #agreed(agreement: Agreement): void {
    const mailbox = this.#mailbox;
    this.#agreement = agreement;
    mailbox.size = agreement.size;
    if (mailbox.state === State.OPENING) mailbox.setState(State.ANSWERING);
    if (mailbox.state === State.SILENT) this.#probe(agreement);
    else if (this.#isAsked) this.#read();
  }

  /** One that agrees to everything may hang all the same when it is to read. */
  #probe({ size, alignment }: Agreement): void {
    this.#isProbing = true;
    this.#connectionTimer.refresh();
    this.#connection?.read(0, Math.min(size, Math.max(PROBE, alignment)));
  }

  #take(number: number): void {
    this.#number = number;
    this.#isAsked = true;
    if (this.#mailbox.state !== State.ANSWERING) {
      this.#answer(Result.UNANSWERED);
      // The one who asked has lost patience with this thread.
      if (this.#agreement !== undefined && !this.#isProbing) this.#probe(this.#agreement);
      return;
    }
    this.#readTimer.refresh();
    if (this.#agreement !== undefined) this.#read();
  }

  /** Asks for what the mailbox asks for, as far as there is so much. */
  #read(): void {
    const { size, alignment } = this.#agreement as Agreement;
    const { position, length } = this.#mailbox;
    const connection = this.#connection as Connection;
    this.#from = position - (position % alignment);
    const end = Math.ceil((position + length) / alignment) * alignment;
    this.#end = Math.min(size, end, this.#from + connection.mostBytes);
    if (this.#end <= position) this.#answer(0);
    else connection.read(this.#from, this.#end - this.#from);
  }

  #answered(error: number): void {
    this.#retry = RETRY;
    const mailbox = this.#mailbox;
    if (this.#isProbing) {
      this.#isProbing = false;
      mailbox.setState(State.ANSWERING);
      return;
    }
    if (error !== 0) {
      mailbox.text = `the NBD server answers with error ${error}`;
      this.#answer(Result.REFUSED);
      return;
    }
    // The one who asked may have lost patience with this thread.
    if (mailbox.state === State.SILENT) mailbox.setState(State.ANSWERING);
    const { position, length, window } = mailbox;
    const skipped = position - this.#from;
    const there = Math.min(length, this.#end - position);
    if (skipped > 0) window.copyWithin(0, skipped, skipped + there);
    this.#answer(there);
  }

  #answer(result: number): void {
    if (!this.#isAsked) return;
    this.#isAsked = false;
    this.#mailbox.answer(this.#number, result);
  }

  #ended(why: string): void {
    const mailbox = this.#mailbox;
    this.#drop();
    mailbox.text = why;
    if (mailbox.state === State.OPENING) {
      mailbox.setState(State.FAILED);
      return;
    }
    this.#reconnecting = setTimeout(() => this.#connect(), this.#retry);
    this.#retry = Math.min(LONGEST_RETRY, this.#retry * 2);
  }

  #drop(): void {
    this.#connection?.close();
    this.#connection = undefined;
    this.#agreement = undefined;
    this.#isProbing = false;
  }

  #readIsLate(): void {
    const mailbox = this.#mailbox;
    if (!this.#isAsked) return;
    const isConnected = this.#agreement !== undefined;
    if (mailbox.state === State.ANSWERING) mailbox.addOutage();
    mailbox.setState(State.SILENT);
    // Without a connection the text says why there is none.
    if (isConnected) this.#ended(LATE);
    this.#answer(Result.UNANSWERED);
  }

  #connectionIsLate(): void {
    if (this.#connection !== undefined && (this.#agreement === undefined || this.#isProbing))
      this.#ended(LATE);
  }
}
