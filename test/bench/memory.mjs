// What the daemon keeps in memory of a guest with many files.
import { setTimeout as sleep } from "node:timers/promises";
import { image } from "./images.mjs";
