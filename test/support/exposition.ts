/**
 * A strict reader of Prometheus' text format (version 0.0.4): it throws at whatever the format's description does not allow.
 * https://prometheus.io/docs/instrumenting/exposition_formats/
 */

export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface Family {
  help: string;
  type: string;
  readonly samples: Sample[];
}

const NAME = "[a-zA-Z_:][a-zA-Z0-9_:]*";
const LABEL = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(,|$)/y;
const SAMPLE = new RegExp(`^(${NAME})(?:\\{(.*)\\})? ([-+]?(?:\\d+(?:\\.\\d+)?(?:e[-+]?\\d+)?|Inf)|NaN)$`);
const TYPES = ["counter", "gauge", "histogram", "summary", "untyped"];
const UNESCAPED: Readonly<Record<string, string>> = { "\\\\": "\\", '\\"': '"', "\\n": "\n" };

/** Families by name. Throws Error. */
export function parseExposition(text: string): Map<string, Family> {
  if (!text.endsWith("\n")) throw new Error("the last line has no end");
  const families = new Map<string, Family>();
  const seen = new Set<string>();
  let current: [name: string, family: Family] | undefined;
  const fail = (line: string, why: string): never => {
    throw new Error(`${why}: ${line}`);
  };
  for (const line of text.slice(0, -1).split("\n")) {
    if (line === "") continue;
    const [, keyword, name = "", rest = ""] = new RegExp(`^# (HELP|TYPE) (${NAME}) (.*)$`).exec(line) ?? [];
    if (keyword === "HELP") {
      if (families.has(name)) fail(line, "a second family of this name");
      current = [name, { help: rest, type: "untyped", samples: [] }];
      families.set(...current);
    } else if (keyword === "TYPE") {
      if (current?.[0] !== name || current[1].samples.length > 0)
        fail(line, "a type that comes at the wrong place");
      if (!TYPES.includes(rest)) fail(line, "no such type");
      current![1].type = rest;
    } else if (line.startsWith("#")) fail(line, "neither help nor type");
    else {
      const sample = parseSample(line) ?? fail(line, "no sample");
      if (current === undefined || !belongs(sample, ...current)) fail(line, "a sample of another family");
      const id = `${sample.name} ${JSON.stringify(Object.entries(sample.labels).sort())}`;
      if (seen.has(id)) fail(line, "the same sample twice");
      seen.add(id);
      current![1].samples.push(sample);
    }
  }
  for (const [name, family] of families) if (family.type === "histogram") checkHistogram(name, family);
  return families;
}

function parseSample(line: string): Sample | undefined {
  const [, name, inside = "", number] = SAMPLE.exec(line) ?? [];
  if (name === undefined || number === undefined) return undefined;
  const labels: Record<string, string> = {};
  for (let at = 0; at < inside.length; at = LABEL.lastIndex) {
    LABEL.lastIndex = at;
    const [, label, text] = LABEL.exec(inside) ?? [];
    if (label === undefined || text === undefined || label in labels) return undefined;
    labels[label] = text.replace(/\\[\\"n]/g, (escaped) => UNESCAPED[escaped] as string);
  }
  return { name, labels, value: Number(number.replace("Inf", "Infinity")) };
}

function belongs({ name, labels, value }: Sample, family: string, { type }: Family): boolean {
  if (type === "counter" && !(value >= 0)) return false;
  if (type !== "histogram") return name === family && !("le" in labels);
  if (name === `${family}_bucket`) return "le" in labels;
  return name === `${family}_sum` || name === `${family}_count`;
}

/** Buckets count upwards to the count, for each set of labels. */
function checkHistogram(name: string, { samples }: Family): void {
  const sets = new Map<string, { buckets: [number, number][]; count: number | undefined; hasSum: boolean }>();
  for (const { name: part, labels, value } of samples) {
    const { le, ...others } = labels;
    const key = JSON.stringify(Object.entries(others).sort());
    const set = sets.get(key) ?? { buckets: [], count: undefined, hasSum: false };
    sets.set(key, set);
    if (part === `${name}_bucket`) set.buckets.push([Number(le?.replace("Inf", "Infinity")), value]);
    else if (part === `${name}_count`) set.count = value;
    else set.hasSum = true;
  }
  for (const { buckets, count, hasSum } of sets.values()) {
    const isRising = buckets.every(
      ([bound, value], i) => i === 0 || (bound > buckets[i - 1]![0] && value >= buckets[i - 1]![1]),
    );
    const last = buckets.at(-1);
    if (!isRising || !hasSum || last?.[0] !== Number.POSITIVE_INFINITY || last[1] !== count)
      throw new Error(`${name}: its buckets are wrong: ${JSON.stringify(buckets)}, count ${count}`);
  }
}
