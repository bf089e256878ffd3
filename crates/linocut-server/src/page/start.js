submits($("key"), async () => {
  key = $("secret").value;
  await load();
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
