/** Metrics by TCP, for who scrapes them: GET /metrics. */
import { createServer, type Server, type ServerResponse } from "node:http";
import type { Log } from "../../images/image.js";
import type { MetricsAddress } from "../metrics-address.js";
import type { Insight } from "./insight.js";

/** What Prometheus' text format calls itself. */
export const METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8";
/** ms until a place that somebody else listens at is tried again. */
const RETRY = 1000;

export class MetricsListener {
  readonly #server: Server;
  readonly #address: MetricsAddress;
  readonly #log: Log;
  #retry: NodeJS.Timeout | undefined;
  #problem = "";

  constructor(address: MetricsAddress, insight: Insight, log: Log) {
    this.#address = address;
    this.#log = log;
    this.#server = createServer(({ method, url }, response) => {
      const path = url?.split("?", 1)[0];
      if (method !== "GET" && method !== "HEAD") refuse(response, 405, `${method}: only GET is known`);
      else if (path !== "/metrics" && path !== "/v1/metrics") refuse(response, 404, "there is /metrics");
      else void tell(insight, response);
    });
    this.#server.on("error", ({ message }) => this.#tryAgain(message));
  }

  /** Listens, or tries until it can. */
  start(): void {
    const { host, port } = this.#address;
    this.#server.listen(port, host);
  }

  /** Ends all connections. */
  async stop(): Promise<void> {
    clearTimeout(this.#retry);
    if (!this.#server.listening) return;
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
      this.#server.closeAllConnections();
    });
  }

  #tryAgain(problem: string): void {
    if (problem !== this.#problem) this.#log(`metrics are not told: ${problem}; it is tried again`);
    this.#problem = problem;
    this.#retry = setTimeout(() => this.start(), RETRY);
  }
}

async function tell(insight: Insight, response: ServerResponse): Promise<void> {
  try {
    const { metricsText } = await import("./metrics.js");
    const text = await metricsText(await insight.snapshot());
    response.writeHead(200, { "content-type": METRICS_TYPE }).end(text);
  } catch (error) {
    refuse(response, 500, (error as Error).message);
  }
}

function refuse(response: ServerResponse, code: number, why: string): void {
  response.writeHead(code, { "content-type": "text/plain; charset=utf-8" }).end(`${why}\n`);
}
