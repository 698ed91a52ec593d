/** How it stands with the programs that serve the images of one volume. */
import type { Image, Service } from "../images/image.js";

/** Undefined: no other program serves any of them. */
export function serviceOf(images: readonly Image[]): Service | undefined {
  const services = images.flatMap(({ service }) => service ?? []);
  return services.length <= 1 ? services[0] : new JointService(services);
}

/** Answers as long as all do. */
class JointService implements Service {
  readonly #services: readonly Service[];

  constructor(services: readonly Service[]) {
    this.#services = services;
  }

  get isAnswering(): boolean {
    return this.#services.every(({ isAnswering }) => isAnswering);
  }

  get outages(): number {
    return this.#services.reduce((sum, { outages }) => sum + outages, 0);
  }

  get trouble(): string {
    const silent = this.#services.find(({ isAnswering }) => !isAnswering);
    return (silent ?? this.#services.find(({ trouble }) => trouble !== ""))?.trouble ?? "";
  }
}
