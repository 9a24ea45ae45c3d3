// Wallet libraries of JavaScript at work: a JSON list of tasks on the standard input, a list of results on the
// standard output. The libraries are found by NODE_PATH (scripts/fetch-wallets.sh).
"use strict";

const { tx, u, wallet } = require("@cityofzion/neon-core");
const { Wallet } = require("ethers");
const { SiweMessage } = require("siwe");

const tasks = {
  // A text signed as it is, in the envelope of NeoLine's signMessage, and as the script of a transaction that says
  // nothing else (signMessageV2).
  n3({ key, text }) {
    const account = new wallet.Account(key);
    const hex = u.str2hexstring(Buffer.from(text, "utf8").toString("latin1"));
    const envelope = `010001f0${u.num2VarInt(hex.length / 2)}${hex}0000`;
    const signers = [{ account: "00".repeat(20), scopes: "None" }];
    const empty = { version: 0, nonce: 0, systemFee: 0, networkFee: 0, validUntilBlock: 0 };
    const transaction = new tx.Transaction({ ...empty, signers, script: hex });
    return {
      address: account.address,
      scriptHash: account.scriptHash,
      publicKey: account.publicKey,
      uncompressed: wallet.getPublicKeyUnencoded(account.publicKey),
      plain: wallet.sign(hex, account.privateKey),
      classic: wallet.sign(envelope, account.privateKey),
      transaction: wallet.sign(transaction.getMessageForSigning(0), account.privateKey),
    };
  },

  evm({ key, text }) {
    const account = new Wallet(key);
    return {
      address: account.address,
      publicKey: account.signingKey.compressedPublicKey,
      signature: account.signMessageSync(text),
    };
  },

  // An EIP-4361 text made from its fields.
  siweWrite({ fields }) {
    return new SiweMessage(fields).prepareMessage();
  },

  // The fields that are read from an EIP-4361 text; absent ones are left out.
  siweRead({ text }) {
    return new SiweMessage(text);
  },
};

const input = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
process.stdout.write(JSON.stringify(input.map((task) => tasks[task.do](task))));
