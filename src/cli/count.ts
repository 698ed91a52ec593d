/** Counts as users write them. */
import { InvalidArgumentError } from "commander";

/** A whole number of at least `least`. The function returned throws InvalidArgumentError. */
export function count(least: number): (text: string) => number {
  return (text) => {
    const number = Number(text);
    if (!/^\d+$/.test(text) || !Number.isSafeInteger(number) || number < least)
      throw new InvalidArgumentError(`write a whole number of at least ${least}.`);
    return number;
  };
}
