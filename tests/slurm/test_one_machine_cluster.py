"""The test cluster takes the place of no other Slurm's configuration."""

import one_machine_cluster


def test_only_what_a_test_cluster_has_left_is_replaced(tmp_path):
    path, target = tmp_path / "slurm.conf", tmp_path / "elsewhere.conf"
    assert one_machine_cluster.replaceable(path)
    path.symlink_to(target)
    assert one_machine_cluster.replaceable(path)  # its folder is gone
    target.write_text("ClusterName=ours\n")
    assert not one_machine_cluster.replaceable(path)
    target.write_text(f"{one_machine_cluster.MARK}\nClusterName=labelbench\n")
    assert one_machine_cluster.replaceable(path)
    path.unlink()
    path.write_text(one_machine_cluster.MARK)
    assert not one_machine_cluster.replaceable(path)


def test_a_slurm_of_the_machine_itself_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(one_machine_cluster, "ETC", tmp_path)
    monkeypatch.setattr(one_machine_cluster.shutil, "which", lambda name: name)
    monkeypatch.setattr(one_machine_cluster.os, "geteuid", lambda: 0)
    assert one_machine_cluster.missing(accounting=True) == ""
    (tmp_path / "gres.conf").write_text("NodeName=n Name=gpu\n")
    assert "a Slurm of its own" in one_machine_cluster.missing(accounting=True)
