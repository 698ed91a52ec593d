import type { ForgottenNode, Request } from "./request.js";

/** Hands requests to other threads, which answer them with FuseServer's `answer`. */
export interface Forwarder {
  /** Whether a request is not to be answered here. Called for each: must be cheap for those that are. */
  isElsewhere(request: Request): boolean;
  /** Hands a request on, whose bytes are valid only until it returns; false if nobody takes it: its answer is EIO. */
  forward(request: Request): boolean;
  /** Somebody no longer wants to wait for the request of that `unique`, by its halves. */
  interrupt(uniqueLow: number, uniqueHigh: number): void;
  /** Hands on that nodes were forgotten; returns those that are not to be handed on. */
  forget(nodes: readonly ForgottenNode[]): readonly ForgottenNode[];
}
