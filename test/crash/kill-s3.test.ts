import { testKills } from "./kills.ts";

testKills("s3");
