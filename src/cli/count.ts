/** Numbers of things as users write them. */
import { InvalidArgumentError } from "commander";

/** From 1 on. Throws InvalidArgumentError. */
export function count(text: string): number {
  const number = /^\d{1,15}$/.test(text) ? Number(text) : 0;
  if (number === 0) throw new InvalidArgumentError("write a whole number of at least 1.");
  return number;
}
