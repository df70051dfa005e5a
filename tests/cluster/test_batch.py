import pyarrow.compute as pc

from cluster.batch import made


def test_a_batch_is_made_that_training_and_embedding_can_read(lake):
    batch = made(lake, users=60, buckets=4)
    features = lake.dataset("user_features", batch).to_table()
    examples = lake.dataset("training_examples", batch).to_table()
    assert len(pc.unique(features["user_id"])) == len(features) == 60
    assert sorted(pc.unique(features["bucket"]).to_pylist()) == [0, 1, 2, 3]
    assert set(examples["user_id"].to_pylist()) == set(features["user_id"].to_pylist())
    assert 0 < pc.sum(examples["validation"]).as_py() < 30
    assert lake.dataset("training_vectors", batch).count_rows() == 100
