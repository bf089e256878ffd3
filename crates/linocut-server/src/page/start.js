submits($("key"), async () => {
  key = $("secret").value;
  // What programs send is of no use to whoever types.
  await load().catch((error) => { throw Object.assign(error, { message: error.message.split("\n")[0] }); });
  $("key").hidden = true;
  $("texts").focus();
});

const begin = () => attempt($("again"), async () => {
  $("again").hidden = true;
  try { await load(); } catch (error) {
    // A key that is asked for is no error.
    $("again").hidden = error.status === 401;
    throw error;
  }
});
submits($("again"), begin);
begin();
