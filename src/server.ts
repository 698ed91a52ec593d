/** The server that the supervisor starts (daemon/supervisor.ts); not to be started by hand. */
import { runServer } from "./daemon/server.js";

runServer();
