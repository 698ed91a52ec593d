/** The process of the tap that the supervisor starts (daemon/tap-keeper.ts); not to be started by hand. */
import { runTapProcess } from "./daemon/tap-process.js";

runTapProcess();
