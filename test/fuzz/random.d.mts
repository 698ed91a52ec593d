export class Random {
  constructor(seed: number);
  bits(): number;
  below(limit: number): number;
  oneIn(n: number): boolean;
  pick<T>(list: readonly T[]): T;
}
