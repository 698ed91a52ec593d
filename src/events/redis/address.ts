/**
 * Where a Redis is, as a user writes it:
 * `redis://[[user]:password@]host[:port][/database]`, `rediss://…` by TLS, `redis+unix://[[user]:password@]/path`,
 * `redis+sentinel://host[:port],host[:port]/master[/database]`, `redis+cluster://host[:port],host[:port]`, and `rediss+…` of
 * the last two by TLS. After a "?": `ca=`, `cert=` and `key=` name PEM files, `sentinel-password=` is the sentinels' own.
 */
import { readFileSync } from "node:fs";

export interface Endpoint {
  readonly host: string;
  readonly port: number;
}

/** A plain object, which can be sent to another process. */
export interface RedisAddress {
  readonly kind: "server" | "unix" | "sentinel" | "cluster";
  /** For people: without user and password. */
  readonly shown: string;
  /** None of a unix socket. */
  readonly endpoints: readonly Endpoint[];
  readonly path?: string;
  /** The sentinels' name of the master. */
  readonly master?: string;
  readonly database: number;
  readonly username?: string;
  readonly password?: string;
  readonly sentinelPassword?: string;
  /** PEM texts; undefined: no TLS. */
  readonly tls?: { readonly ca?: string; readonly cert?: string; readonly key?: string };
}

type Writable<T> = { -readonly [K in keyof T]: T[K] };

const KINDS: ReadonlyMap<string, RedisAddress["kind"]> = new Map([
  ["redis", "server"],
  ["redis+unix", "unix"],
  ["redis+sentinel", "sentinel"],
  ["redis+cluster", "cluster"],
]);
const PORT = 6379;
const SENTINEL_PORT = 26_379;
const FILES = ["ca", "cert", "key"] as const;
export const ADDRESS_FORMS =
  "redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE], rediss:// (TLS), redis+unix:///SOCKET, redis+sentinel://HOST:PORT,HOST:PORT/MASTER, redis+cluster://HOST:PORT,HOST:PORT";

/** Throws SyntaxError for a text that is no such address, and a system error for a file that cannot be read. */
export function parseAddress(text: string): RedisAddress {
  const match = /^(rediss?)(\+[a-z]+)?:\/\/(?:([^/]*)@)?([^/?@]*)(\/[^?]*)?(?:\?(.*))?$/.exec(text);
  const [, scheme = "", variant = "", login, authority = "", path = "", query = ""] = match ?? [];
  const kind = match === null ? undefined : KINDS.get(`redis${variant}`);
  const isTls = scheme === "rediss";
  if (kind === undefined || (isTls && kind === "unix")) throw problem(`write it as ${ADDRESS_FORMS}`);
  const address: Writable<RedisAddress> = {
    kind,
    shown: `${scheme}${variant}://${authority}${path}`,
    endpoints: [],
    database: 0,
  };
  if (login !== undefined) setLogin(address, login);
  if (kind === "unix") {
    if (authority !== "" || path.length < 2)
      throw problem("write the socket as redis+unix:///run/redis.sock");
    address.path = decoded(path);
  } else {
    const port = kind === "sentinel" ? SENTINEL_PORT : PORT;
    const hosts = authority.split(",");
    if (kind === "server" && hosts.length > 1)
      throw problem("several hosts are those of redis+sentinel:// or redis+cluster://");
    address.endpoints = hosts.map((host) => endpoint(host, port));
    setPlace(address, path);
  }
  const parameters = new URLSearchParams(query);
  if (isTls) address.tls = tlsFrom(parameters);
  const sentinelPassword = kind === "sentinel" ? take(parameters, "sentinel-password") : undefined;
  if (sentinelPassword !== undefined) address.sentinelPassword = sentinelPassword;
  for (const name of parameters.keys()) throw problem(`"${name}" is not known here`);
  return address;
}

/** The text itself is left out: it may have a password in it. */
function problem(what: string): SyntaxError {
  return new SyntaxError(`the address of Redis: ${what}`);
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw problem('a "%" in it is to be written %25');
  }
}

function setLogin(address: Writable<RedisAddress>, login: string): void {
  const colon = login.indexOf(":");
  if (colon < 0) throw problem("write USER:PASSWORD@ or :PASSWORD@ before the host");
  if (colon > 0) address.username = decoded(login.slice(0, colon));
  address.password = decoded(login.slice(colon + 1));
}

function endpoint(text: string, port: number): Endpoint {
  const [, six, plain, digits] = /^(?:\[([0-9a-fA-F:.]+)\]|([^[\]:\s]+))(?::(\d{1,5}))?$/.exec(text) ?? [];
  const host = six ?? plain;
  const number = digits === undefined ? port : Number(digits);
  if (host === undefined || number === 0 || number > 65_535)
    throw problem(`"${text}" is no HOST or HOST:PORT`);
  return { host, port: number };
}

/** What stands after the hosts: the master's name, the database. */
function setPlace(address: Writable<RedisAddress>, path: string): void {
  const parts = path.split("/").slice(1);
  if (address.kind === "sentinel") {
    const master = decoded(parts.shift() ?? "");
    if (master === "") throw problem("the master's name is missing: redis+sentinel://HOST:PORT/MASTER");
    address.master = master;
  }
  const [database = "", ...rest] = parts;
  if (rest.length > 0 || !/^\d{0,9}$/.test(database)) throw problem(`"${path}" is no number of a database`);
  if (address.kind === "cluster" && database !== "") throw problem("a cluster has one database only");
  address.database = Number(database);
}

function tlsFrom(parameters: URLSearchParams): NonNullable<RedisAddress["tls"]> {
  const tls: Writable<NonNullable<RedisAddress["tls"]>> = {};
  for (const name of FILES) {
    const file = take(parameters, name);
    if (file !== undefined) tls[name] = readFileSync(file, "utf8");
  }
  return tls;
}

function take(parameters: URLSearchParams, name: string): string | undefined {
  const value = parameters.get(name) ?? undefined;
  parameters.delete(name);
  return value;
}
