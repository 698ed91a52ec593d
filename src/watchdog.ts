/** The watchdog that is started beside a process that mirrors guests' writes; not to be started by hand. */
import { watch } from "./capture/qmp/watchdog.js";

watch();
