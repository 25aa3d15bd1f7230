import { testKills } from "./kills.ts";

testKills("directory");
